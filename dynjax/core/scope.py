"""What of PyTorch's public surface dynjax leaves out on purpose, and why.

The one list: error messages, the page of all names and the parity tests read it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache

_INTERNAL = "an internal of PyTorch's that its documentation does not describe"
_SPARSE = "sparse tensors: XLA's arrays are dense"
_QUANTIZED = "quantized tensors and their kernels: XLA has no such types"
_STORAGE = "storages and addresses: arrays are immutable, and their memory is XLA's"
_SCRIPT = "TorchScript and symbolic shapes: programs are recorded here"
_SETTING = "a setting of PyTorch's kernels and threads: these are XLA's here"
_VENDOR = "a kernel of one vendor: XLA chooses kernels"
_QUEUE = "queues of work on a device: XLA orders what it runs"
_TRANSFORM = "function transforms are JAX's own: `dynjax.interop.jax` takes them and gives to them"
_TYPES = "a gradient has the type of what it is the gradient of"
_REMOVED = "removed from PyTorch"
_NESTED = "nested tensors: XLA's arrays are dense"
_LOOP = "elements one by one through Python"
_OLD = "deprecated by PyTorch for years, and replaced"
_DEVICES = "several devices: arrays are sharded by JAX"
_DTYPE = "a type that JAX's arrays do not have, or not on every device"

# Patterns of names (of torch, torch.Tensor, nn.functional and of PyTorch's database) and reasons.
# The first that fits counts.
OUT_OF_SCOPE: tuple[tuple[str, str], ...] = (
    *((p, _SPARSE) for p in (
        "*sparse*", "*coalesce*", "*col_indices*", "*row_indices*", "indices", "indices_copy",
        "values", "values_copy", "*dense_dim", "to_dense", "smm", "spmm", "hspmm", "dsmm", "hsmm",
        "sspaddmm", "saddmm",
    )),
    *((p, _QUANTIZED) for p in (
        "*quantize*", "q_*", "*qscheme", "int_repr", "choose_qparams*", "fbgemm_*", "qint*",
        "quint*", "*scaled_mm*", "*grouped_mm",
    )),
    *((p, _STORAGE) for p in (
        "*torage*", "data_ptr", "const_data_ptr", "set_", "share_memory_", "is_shared", "is_set_to",
        "pin_memory", "is_pinned", "record_stream", "dim_order", "from_file", "frombuffer",
        "layout", "memory_format", "convert_conv*_weight_memory_format", "slice_inverse",
        "prepare_multiprocessing_environment",
    )),
    *((p, _SCRIPT) for p in (
        "ModuleDict", "ParameterDict", "BufferDict",  # of the main namespace: not those of nn
        "Sym*", "sym_*", "Script*", "*Type", "parse_*", "import_ir*", "fork", "wait",
        "AliasDb", "Argument*", "Benchmark*", "Block", "CallStack", "Capsule", "Code",
        "CompleteArgumentSpec", "ConcreteModule*", "ErrorReport", "ExecutionPlan", "FileCheck",
        "FunctionSchema", "Future", "Gradient", "Graph", "GraphExecutorState", "IODescriptor",
        "JITException", "LiteScriptModule", "LockingLogger", "Node", "NoopLogger", "OperatorInfo",
        "StaticModule", "ThroughputBenchmark", "TracingState", "Use", "Value",
        "CompilationUnit", "unify_type_list", "merge_type_from_type_comment", "jiterator_*",
    )),
    *((p, _SETTING) for p in (
        "*num_threads", "*num_interop_threads", "*flush_denormal", "*float32_matmul_precision",
        "*deterministic*", "has_lapack", "has_mkl", "has_openmp", "has_spectral",
        "*anomaly*enabled", "*warn_always*", "get_file_path",
    )),
    *((p, _VENDOR) for p in ("cudnn_*", "miopen_*", "mkldnn_*", "*mkldnn", "is_vulkan*", "is_ipu",
                             "is_maia", "is_mtia", "is_xla", "ipu", "mtia", "xpu",
                             "*autocast_ipu*", "*autocast_xla*")),
    *((p, _QUEUE) for p in ("Stream", "Event", "AcceleratorError", "get_device_module")),
    *((p, _TRANSFORM) for p in ("vmap", "index")),
    *((p, _TYPES) for p in ("grad_dtype",)),
    *((p, _REMOVED) for p in ("volatile",)),
    *((p, _NESTED) for p in ("to_padded_tensor",)),
    *((p, _SPARSE) for p in ("lobpcg",)),
    *((p, _LOOP) for p in ("apply_", "map_", "map2_")),
    *((p, _DTYPE) for p in ("chalf", "complex32", "bits*", "bit", "int[1-7]", "uint[1-7]",
                            "float4_*", "float8_*")),
    *((p, _OLD) for p in ("Container", "NLLLoss2d")),
    *((p, _DEVICES) for p in ("DataParallel",)),
    *((p, _INTERNAL) for p in (
        "unique_dim", "FatalError", "embedding_bag", "factory_kwargs", "bind", "copy_method_params",
        "_*", "torch_ops_*", "slice", "*_backward", "*_backward_*", "batch_norm_*",
        "native_norm", "handle_torch_function", "has_torch_function*", "boolean_dispatch",
        "assert_int_or_pair", "hash_tensor", "fused_*", "*_rnn_layer", "reinforce", "module_load",
        "BroadcastingList*", "*_notes", "GRID_SAMPLE_*", "ScalingType", "SwizzleType",
        "DeepCopyMemoTable", "Dispatch*", "DisableTorchFunction*", "ExcludeDispatchKeyGuard",
        "PyTorchFile*", "Tag", "SUM", "AVG", "thread_safe_generator",
    )),
)  # fmt: skip


@lru_cache(4096)
def out_of_scope(name: str) -> str | None:
    """Why a name of PyTorch's is left out on purpose; None for any other name.

    Args:
        name: without its namespace, or as PyTorch's database of operations has it.
    """
    return next((why for pattern, why in OUT_OF_SCOPE if fnmatchcase(name, pattern)), None)
