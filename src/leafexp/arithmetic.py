"""What of this machine and its environment decides how sums are rounded, and with them a result's last digits."""

import functools
import os
import platform
import re
from pathlib import Path

# oneDNN, XLA and TensorFlow's switches between ways of computing the same; oneDNN's others print, profile or save time.
_SWITCHES = re.compile(
    "TF_ENABLE_ONEDNN_OPTS|TF_DISABLE_MKL|TF_DETERMINISTIC_OPS|TF_CUDNN_DETERMINISTIC|(TF_)?XLA_FLAGS|"
    "NVIDIA_TF32_OVERRIDE|(ONEDNN|DNNL)_(?!VERBOSE|JIT_DUMP|JIT_PROFILE|JITDUMPDIR|PRIMITIVE_CACHE_CAPACITY)\\w+"
)
_LEVELS = ("sse4", "avx", "fma", "amx", "asimd", "sve", "bf16", "i8mm")  # beginnings of names of instruction sets
_CPUINFO, _NVIDIA = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")  # Linux's


@functools.cache
def arithmetic() -> tuple[str, ...]:
    """The processor's architecture and instruction sets, the GPUs in use, and the environment's switches, in words.

    oneDNN chooses its kernels by instruction sets: processors that share them round alike.
    """
    # As import_tensorflow sets it; this may be asked for before and after.
    environment = {"TF_ENABLE_ONEDNN_OPTS": "1"} | os.environ
    switches = sorted(f"{name}={value}" for name, value in environment.items() if _SWITCHES.fullmatch(name))
    return (platform.machine(), *_instruction_sets(), *_gpus(), *switches)


def _instruction_sets() -> list[str]:
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [platform.processor()]
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return sorted({flag for flag in flags[1].split() if flag.startswith(_LEVELS)}) if flags else []


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        return []
    found = []
    for about in sorted(_NVIDIA.glob("*/information")):
        model = re.search(r"^Model:\s*(.*)$", about.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        found.append(f"GPU {model[1].strip() if model else 'unknown'}")
    return [*found, f"CUDA_VISIBLE_DEVICES={visible}"] if found and visible else found
