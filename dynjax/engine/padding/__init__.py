"""Programs for data of many shapes.

`buckets` decides what runs so; `families` knows graphs that differ in nothing but the shapes of
their data; `graphs`, `extents` and `pattern` say what such graphs have in common; `walk` writes
their equations down for padded data, by the rules for primitives that the other files declare.
"""

from . import along, elements, gathers, loops, pieces, products, shapes

__all__ = ["along", "elements", "gathers", "loops", "pieces", "products", "shapes"]
