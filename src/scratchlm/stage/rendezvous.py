"""Where the processes of one machine find each other: at 127.0.0.1, not at all of the machine's addresses.

torchrun's own meeting point listens on every address and reads pickles from whoever connects.
"""

from __future__ import annotations

import os
import socket

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous.api import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

BACKEND = "one-machine"  # what torchrun calls it
HOST = "127.0.0.1"


class OneMachine(RendezvousHandler):
    """The meeting of one launcher with itself, with a store that its processes use too."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        # The store takes the socket over, and closes it.
        listener = socket.create_server((HOST, 0))
        port = listener.getsockname()[1]
        self.store = TCPStore(HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
        self.address = RendezvousStoreInfo(HOST, port)
        self.n_meetings = 0

    def get_backend(self) -> str:
        return BACKEND

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        self.n_meetings += 1  # after a restart, nothing that was said before counts
        return RendezvousInfo(PrefixStore(f"meeting {self.n_meetings}", self.store), 0, 1, self.address)

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self.run_id

    def shutdown(self) -> bool:
        return True


def stay_on_one_machine() -> None:
    """Let torchrun know the meeting point, and let the processes' own connections stay inside this machine too."""
    rendezvous_handler_registry.register(BACKEND, create)
    inside = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", inside)


def create(parameters: RendezvousParameters) -> RendezvousHandler:
    return OneMachine(parameters.run_id)
