"""Archives in PyTorch's zip format made by hand, so that they can be wrong."""

import io
import zipfile


def archive(program, storages=(), compression=zipfile.ZIP_STORED, **more):
    """The bytes of an archive with this pickle and these storages."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        for k, storage in enumerate(storages):
            file.writestr(f"archive/data/{k}", storage)
        file.writestr("archive/version", b"3\n")
        for name, data in more.items():
            file.writestr(f"archive/{name}", data)
    return made.getvalue()


def text(value):
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def number(n):
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    size, stride, offset=0, numel=1, key="0", kind="FloatStorage", location="cpu", flags=b"\x89"
):
    """The part of a pickle that makes a tensor."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text(location)
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(numel) + b"tQ" + number(offset)
        + numbers(size) + numbers(stride) + flags + hooks + b"tR"
    )  # fmt: skip


def program(*parts):
    """A whole pickle: a list of what the parts make."""
    return b"\x80\x02](" + b"".join(parts) + b"e."
