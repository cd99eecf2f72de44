def format_tensor(array, dtype, **k): return f"tensor({array!r}, {k})"
