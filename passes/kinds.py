"""Groups of operations that several mark passes ask for, from the families of the op table."""

from __future__ import annotations

from lrpc.ir.ops import Family, Trait, of_family, with_trait

STRUCTURAL = of_family(Family.STRUCTURAL)
MOVING = STRUCTURAL - with_trait(Trait.JOINS)  # entries of one operand
BY_NUMBER = of_family(Family.SCALING) & with_trait(Trait.ELEMENTWISE)  # or by data of the map
NORMS = of_family(Family.NORM)
POOLS = of_family(Family.POOLING)
SUMS = of_family(Family.SUM)
PRODUCTS = of_family(Family.BILINEAR)
CONVOLUTIONS = of_family(Family.CONVOLUTION)
# What makes a transform out of a path: maps with weights, and mixing of tokens.
LEARNED = of_family(Family.LINEAR, Family.CONVOLUTION, Family.BILINEAR, Family.SAMPLING)
ACTIVATIONS = of_family(Family.ACTIVATION, Family.FUNCTION)
SAMPLING = of_family(Family.SAMPLING)
