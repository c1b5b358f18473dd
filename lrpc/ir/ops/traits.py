"""What an operation is: its family, its traits, and how its result views its input."""

from __future__ import annotations

from enum import Enum, Flag, auto


class Family(Enum):
    """The one kind of map that an operation is."""

    LINEAR = "a linear map with weights, of the last axis"
    CONVOLUTION = "a convolution with weights, or its transpose"
    BILINEAR = "a sum of products of two operands"
    PRODUCT = "an elementwise product of two operands"
    SUM = "a sum or difference of two operands"
    SCALING = "linear without weights: by a number, by data of the map, or over an axis"
    STRUCTURAL = "moves, repeats, selects by place or fills entries of its first operand"
    SELECTION = "picks entries by an index, which is an operand or a result"
    ACTIVATION = "an activation function"
    FUNCTION = "an elementwise function that is no activation of its own: powers, exp, bounds"
    SOFTMAX = "a softmax over an axis"
    NORM = "divides by the deviation of its operand, or by that of the training data"
    POOLING = "the mean, largest or smallest of windows, or the latter over axes"
    INTERPOLATION = "resizes maps"
    EMBEDDING = "looks up rows of a table by whole numbers"
    SAMPLING = "samples maps at places that are an operand"
    ATTENTION = "a module kept whole, until a pass expands it"
    DETACH = "its operand, through which no gradient flows"
    PREDICATE = "gives booleans"
    STEP = "gives numbers without a slope: rounded ones, or places of entries"
    BOXES = "boxes around masks"
    SOURCE = "takes no operand"
    TRANSPOSE = "the transpose or the derivative of another operation, applied to relevance"
    QUOTIENT = "what relevance is multiplied by: f(x)/x, a stabilised ratio, 1/σ"
    RELEVANCE = "arithmetic that the relevance half alone uses"
    EFFECT = "has no result: stands for what a program hands out beside its own"


class View(Enum):
    """How a result that is another name for its first input's memory shows it."""

    SAME = "as it is"
    IN_ORDER = "all entries in their order, under another shape"
    PERMUTED = "all entries, in another order"
    REPEATED = "some entries several times"
    PART = "some of the entries"


class Trait(Flag):
    """A property that the reference semantics of an operation have. Traits say what is known: one
    that is missing promises nothing."""

    NONE = 0
    ALLOCATES = auto()
    """The result never shares memory with an operand or a weight."""
    CHEAP = auto()
    """A few passes over its operands: as well recomputed as kept."""
    MOVABLE = auto()
    """Without seeds as well computed in the forward half as in the relevance half, though not
    twice. What is CHEAP is movable too."""
    ELEMENTWISE = auto()
    """An entry of the result depends on the same entry of each (broadcast) operand alone."""
    COMMUTES = auto()
    """Its two operands may change places: same result, bit by bit."""
    EXACT = auto()
    """Every entry of the result is an entry of its first operand, or 0: the same number in every
    precision that holds the operand's."""
    KEEPS_SIGN = auto()
    """Where no entry of its float operands is below 0, none of its first result is."""
    NOT_NEGATIVE = auto()
    """No entry of the result is below 0."""
    BOUNDED = auto()
    """No entry of the result is larger than 1 in size."""
    CHOOSES = auto()
    """Which entry it picks can turn on the last bit of its operands."""
    JOINS = auto()
    """Takes its entries from several operands alike."""
    INVERTS = auto()
    """Can be a negative power of its operand."""
    CHANNELS_FIRST = auto()
    """Works on maps: its operand's channels are axis 1."""
    CHANNELS_LAST = auto()
    """Works on tokens: its operand's channels are the last axis."""
    FIXED_DTYPE = auto()
    """The result is float32 whatever the operands are."""
