"""What of this machine and its environment decides how sums are rounded, and with them a result's last digits."""

import functools
import os
import platform
import re
from pathlib import Path

# Switches between ways of computing the same, of those that TensorFlow 2.21, oneDNN, cuBLAS and cuDNN read. Others
# print, profile, save time or memory, or are of layers that leafexp does not build (sparse and recurrent ones).
_SWITCHES = re.compile(
    "TF_ENABLE_ONEDNN_OPTS|TF_SET_ONEDNN_FPMATH_MODE|TF_ENABLE_ZENDNN_OPTS|TF_USE_DEEP_CONV2D|"
    "(ONEDNN|DNNL)_(MAX_CPU_ISA|CPU_ISA_HINTS|DEFAULT_FPMATH_MODE)|TF_DETERMINISTIC_OPS|(TF_)?XLA_FLAGS"
)
_GPU_SWITCHES = re.compile(
    "TF_CUDNN_DETERMINISTIC|TF_CUDNN_USE_(AUTOTUNE|RUNTIME_FUSION)|TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT|"
    "TF_CUDNN_(WORKSPACE_LIMIT_IN_MB|DISABLE_CONV_1X1_OPTIMIZATION)|TF_CONV2D_USE_FP16_ACCUMULATE|TF_USE_CUBLASLT|"
    "TF_ENABLE_WINOGRAD_NONFUSED|TF_USE_DEFAULT_CONV_ALGO|TF_MATMUL_AUTOTUNE_ENABLE|"
    "TF_FP16_(CONV|MATMUL)_USE_FP32_COMPUTE|CUBLAS_WORKSPACE_CONFIG|NVIDIA_TF32_OVERRIDE"
)
# Of XLA's flags: where it writes what it does, and where CUDA lies.
_XLA_ELSEWHERE = re.compile(r"--(xla_dump_|xla_gpu_cuda_data_dir|tf_xla_clustering_debug)\S*\s*")
_LEVELS = ("sse4", "avx", "fma", "amx", "asimd", "sve", "bf16", "i8mm")  # beginnings of names of instruction sets
_CPUINFO, _NVIDIA = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")  # Linux's


@functools.cache
def arithmetic() -> tuple[str, ...]:
    """The processor's architecture and instruction sets, the GPUs in use, and the environment's switches, in words.

    oneDNN chooses its kernels by instruction sets: processors that share them round alike.
    """
    gpus = _gpus()
    return (platform.machine(), *_instruction_sets(), *gpus, *_switches(bool(gpus)))


def _switches(gpus: bool) -> list[str]:
    # As import_tensorflow sets it; this may be asked for before and after.
    environment = {"TF_ENABLE_ONEDNN_OPTS": "1"} | os.environ
    for name in {"XLA_FLAGS", "TF_XLA_FLAGS"} & environment.keys():
        environment[name] = _XLA_ELSEWHERE.sub("", environment[name]).strip()
    return sorted(
        f"{name}={value}"
        for name, value in environment.items()
        if value and (_SWITCHES.fullmatch(name) or (gpus and _GPU_SWITCHES.fullmatch(name)))
    )


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
