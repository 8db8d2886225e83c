"""The names that the policy knows, by module: the same for every machine and every version.

They are the public facts of the libraries, written out; no library is asked. A name stands here
because what it makes holds data and, for classes of the tier ``module``, because setting its state
runs nothing but the library's own code.
"""

from __future__ import annotations

from typing import Final

Names = dict[str, frozenset[str]]

_DTYPES: Final = """
    float64 float32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz
    float8_e8m0fnu float4_e2m1fn_x2 int64 int32 int16 int8 int1 int2 int3 int4 int5 int6 int7
    uint64 uint32 uint16 uint8 uint1 uint2 uint3 uint4 uint5 uint6 uint7 bool complex128 complex64
    complex32 qint8 qint32 quint8 quint4x2 quint2x4 bits1x8 bits2x4 bits4x2 bits8 bits16
    double float half long int short cfloat cdouble chalf
    per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric
    per_channel_affine_float_qparams strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc
    contiguous_format channels_last channels_last_3d preserve_format
"""
_KINDS: Final = "Byte Char Short Int Long Half Float Double BFloat16 Bool".split()
_STORAGES: Final = frozenset(
    f"{kind}Storage"
    for kind in (*_KINDS, "ComplexFloat", "ComplexDouble", "QUInt8", "QInt8", "QInt32")
) | {"QUInt4x2Storage", "QUInt2x4Storage"}
_TENSORS: Final = frozenset(f"{kind}Tensor" for kind in _KINDS)

VALUES: Final[Names] = {
    "torch": frozenset(_DTYPES.split()),
    "builtins": frozenset({"object"}),
    "torch.nn.functional": frozenset(
        "relu relu6 gelu silu mish elu selu celu leaky_relu hardswish hardtanh sigmoid tanh "
        "softmax log_softmax softplus logsigmoid glu prelu rrelu softsign tanhshrink".split()
    ),
    "torch._C._nn": frozenset({"gelu", "silu", "relu6", "mish", "hardswish", "log_sigmoid"}),
    "numpy.dtypes": frozenset(
        f"{kind}DType"
        for kind in "Bool Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 "
        "Float64 LongDouble Complex64 Complex128 Str Bytes Void Object DateTime64 "
        "TimeDelta64".split()
    ),
}
for _device in ("torch", "torch.cuda", "torch.sparse", "torch.cuda.sparse"):
    VALUES[_device] = VALUES.get(_device, frozenset()) | _STORAGES | _TENSORS

# numpy's scalar types, which a dtype or an array may name.
VALUES["numpy"] = frozenset(
    "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 longdouble "
    "complex64 complex128 str_ bytes_ void object_ datetime64 timedelta64 intc intp uintc uintp "
    "longlong ulonglong float128 complex256 double single half".split()
)

# Made with arguments and, where the library's __reduce__ says so, given state.
CLASSES: Final[Names] = {
    "torch": frozenset({"Size", "device", "Tensor"}),
    "torch.nn.parameter": frozenset({"Parameter", "Buffer", "UninitializedParameter"}),
    "torch.storage": frozenset({"UntypedStorage", "TypedStorage", "_UntypedStorage"}),
    "builtins": frozenset(
        {"set", "frozenset", "bytearray", "complex", "slice", "range", "bytes", "int", "float"}
        | {"str", "bool", "list", "tuple", "dict"}
    ),
    "numpy": frozenset({"dtype", "ndarray"}),
}
FILLED_BY_PAIRS: Final[Names] = {
    "collections": frozenset({"OrderedDict", "Counter"}),
}
FILLED_BY_ITEMS: Final[Names] = {
    "collections": frozenset({"deque"}),
}

# Data of the standard library that checkpoints carry beside weights.
PLAIN_CLASSES: Final[Names] = {
    "datetime": frozenset({"datetime", "date", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "fractions": frozenset({"Fraction"}),
    "uuid": frozenset({"UUID", "SafeUUID"}),
    "pathlib": frozenset(
        {"Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"}
    ),
    "argparse": frozenset({"Namespace"}),
    "types": frozenset({"SimpleNamespace"}),
    "random": frozenset({"Random"}),
    "string": frozenset({"Template"}),
}

# Called to put a tensor or an array together again.
REBUILD: Final[Names] = {
    "torch._utils": frozenset(
        {"_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_sparse_tensor"}
        | {"_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor"}
        | {"_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor"}
        | {"_rebuild_wrapper_subclass"}
    ),
    "torch.serialization": frozenset({"_get_layout"}),
    "numpy.core.multiarray": frozenset({"scalar"}),
    "numpy._core.multiarray": frozenset({"scalar"}),
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "numpy._core.numeric": frozenset({"_frombuffer"}),
}

PACKED: Final = frozenset(
    f"__torch__.torch.classes.{name}"
    for name in (
        "quantized.LinearPackedParamsBase",
        "quantized.Conv2dPackedParamsBase",
        "quantized.Conv3dPackedParamsBase",
        "quantized.EmbeddingPackedParamsBase",
        "rnn.CellParamsBase",
        "sparse.LinearPackedParamsBase",
    )
)
"""Native classes of torch that hold weights and nothing else."""
