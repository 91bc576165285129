#!/bin/bash
# A run as a job of Slurm, in a folder that all its machines share: sbatch scripts/slurm.sh
# With a stage, on several machines: sbatch --nodes 2 scripts/slurm.sh pretrain
#SBATCH --job-name=scratchlm
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
stage=${1:-}
. ./.venv/activate-here # made by `make setup`, before the job
export PYTHONPATH=src
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take it by itself
is_shared='import sys; from scratchlm.stage.run import SHARED; sys.exit(sys.argv[1] not in SHARED)'
processes="--nnodes $SLURM_NNODES --nproc-per-node ${SLURM_GPUS_ON_NODE:-1}"
if [ -z "$stage" ]; then
    [ "$SLURM_NNODES" -eq 1 ] || { echo "slurm: error: several machines run one stage: name it" >&2; exit 1; }
    [ -n "${SCRATCHLM_LAUNCH:-}" ] || export SCRATCHLM_LAUNCH="torchrun --standalone $processes"
    command='python scripts/preflight.py && exec python -m dvc repro'
elif [ "$SLURM_NNODES" -gt 1 ] && ! python -c "$is_shared" "$stage"; then
    echo "slurm: error: $stage runs as one process: leave out --nodes" >&2
    exit 1
elif [[ $(python -m dvc status "$stage") == *"up to date"* ]]; then
    exit 0 # DVC would not start it, and the other machines would wait for the first
else
    first=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)}
    export SCRATCHLM_LAUNCH="torchrun $processes --master-addr $first --master-port ${MASTER_PORT:-29500}"
    # DVC runs on the first machine; the others join its stage, so that it must run. PET_NODE_RANK is torchrun's
    # --node-rank.
    anew=
    [ "$SLURM_NNODES" -eq 1 ] || anew=--no-run-cache
    command="export PET_NODE_RANK=\$SLURM_NODEID
        if [ \$SLURM_NODEID = 0 ]; then exec python -m dvc repro $anew --single-item $stage
        else exec python -m scratchlm.stage stages/$stage.py; fi"
fi

# Two minutes before the end of its time Slurm sends SIGTERM to this shell. The stage saves its state and ends; the job
# goes back into the queue and goes on from there. DVC lives on until then, as Slurm kills what a task leaves behind. A
# stage that is just starting may miss the signal, so that it is sent again.
asked=
trap 'asked=yes' TERM
srun --kill-on-bad-exit=0 bash -c "trap '' TERM; $command" &
job=$!
code=0
wait "$job" || code=$?
if [ -n "$asked" ]; then # the wait ended with the signal
    while kill -0 "$job" 2>/dev/null; do
        scancel --signal=TERM "$SLURM_JOB_ID" || true # to the tasks: srun would kill them if it got the signal itself
        sleep 5
    done
    code=0
    wait "$job" || code=$?
    [ "$code" -eq 0 ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
