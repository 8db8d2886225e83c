"""Names of code in configurations: what a loader imports and calls because a text says so.

Hydra calls what stands under ``_target_``, YAML what a tag of Python names, and the folders of
sentence-transformers and diffusers list the classes that they are made of.
"""

from __future__ import annotations

import re
from typing import Any, Final

from torchkeep.scan.job import Job
from torchkeep.scan.pickle.dangerous import is_dangerous
from torchkeep.scan.verdict import Verdict

_TARGET: Final = re.compile(r"""_target_["']?\s*:\s*["']?([\w.]+)""")
_TAG: Final = re.compile(
    r"!(?:!|<?tag:yaml\.org,2002:)python/(?:object/apply|object/new|object|name|module):([\w.]+)"
)
# Functions of Hydra that look up any name in turn.
_RESOLVERS: Final = frozenset(
    f"hydra.utils.{name}"
    for name in (
        "get_class",
        "get_method",
        "get_static_method",
        "get_object",
        "instantiate",
        "call",
    )
)
_STEPS: Final = frozenset({"idx", "name", "path", "type"})
# Libraries that diffusers knows, and pipelines of its own that stand in their place.
_KNOWN: Final = frozenset({"diffusers", "transformers", "onnxruntime", "optimum", "peft", "flax"})
_OWN: Final = re.compile(
    r"(stable_diffusion|stable_audio|stable_cascade|latent_diffusion|deepfloyd_if|paint_by_example|"
    r"kandinsky|wuerstchen|unclip|shap_e|audioldm|musicldm|flux|pixart|hunyuan|kolors|controlnet|"
    r"ledits_pp|semantic_stable_diffusion|unidiffuser|blip_diffusion|alt_diffusion|aura_flow)\w*"
)


def check(job: Job, said: dict[str, Any], member: str) -> None:
    """Note code that an object of a JSON file names.

    Args:
        job: Where issues are noted.
        said: The object.
        member: Where it lies inside the file.
    """
    target = said.get("_target_")
    if isinstance(target, str):
        _target(job, target, member)
    kind = said.get("type")
    if said.keys() >= _STEPS and isinstance(kind, str):
        _step(job, kind, member)
    if "_class_name" in said:
        for key, value in said.items():
            if _is_pair(value) and not _is_part(value[0], key):
                _note(job, Verdict.NEEDS_REVIEW, ".".join(value), member)


def check_text(job: Job, text: str, member: str) -> None:
    """Note code that a text in YAML names."""
    for match in _TARGET.finditer(text):
        _target(job, match[1], member)
    for match in _TAG.finditer(text):
        verdict = Verdict.DANGEROUS if is_dangerous(match[1]) else Verdict.NEEDS_REVIEW
        _note(job, verdict, match[1], member)


def _target(job: Job, name: str, member: str) -> None:
    if name in _RESOLVERS:
        _note(job, Verdict.NEEDS_REVIEW, name, member)
    elif is_dangerous(name) and name != "functools.partial":  # which is how Hydra makes factories
        _note(job, Verdict.DANGEROUS, name, member)


def _step(job: Job, kind: str, member: str) -> None:
    """sentence-transformers imports the class of each step of ``modules.json``."""
    if not kind.startswith("sentence_transformers."):
        verdict = Verdict.DANGEROUS if is_dangerous(kind) else Verdict.NEEDS_REVIEW
        _note(job, verdict, kind, member)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(v) is str for v in value)


def _is_part(library: str, key: str) -> bool:
    """Whether diffusers finds the class itself; else it is a file beside the model."""
    return key != "_class_name" and (library in _KNOWN or _OWN.fullmatch(library) is not None)


def _note(job: Job, verdict: Verdict, name: str, member: str) -> None:
    job.issue(67, verdict, "names-code", member=member, name=name[:200])
