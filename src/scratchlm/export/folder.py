"""The folder that is exported: a GGUF file, what Ollama and the Hugging Face hub want beside it, and a model card."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scratchlm.assistant.chat_template import jinja_template
from scratchlm.assistant.folder import DESCRIPTION, read_style
from scratchlm.checkpoint.config_json import CONFIG, layout_of, read_config
from scratchlm.checkpoint.folder import check_vocabulary
from scratchlm.checkpoint.weights import WEIGHTS
from scratchlm.classifier.folder import DESCRIPTION as CLASSIFIER
from scratchlm.errors import InputError
from scratchlm.export.card import QUESTION, YOU, BEGINNING, Described, write_card
from scratchlm.export.gguf_file import Dtype, write_gguf
from scratchlm.export.gguf_layout import check_expressible, is_absent
from scratchlm.export.last_run import find_run
from scratchlm.export.ollama import go_template, modelfile, parameters
from scratchlm.export.origin import find_origin, licence_texts, notice
from scratchlm.export.vocabulary import read_vocabulary
from scratchlm.files.atomic import atomic_path, write_json, write_text
from scratchlm.files.checksum import measure
from scratchlm.files.room import check_room, writable
from scratchlm.model.config import ModelConfig
