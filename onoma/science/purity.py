"""Do concepts keep to one X-feature, and X-features to one concept? (paper, Tables 2 and 3)"""

from dataclasses import dataclass

import numpy as np

from onoma.science.study_data import Category, Naming, Ratio


@dataclass(frozen=True)
class Purity:
    """Purity of one naming, both ways; 0/0 where nothing is named.

    Attributes:
        cx: sum over concepts of their largest X-feature's activations, over the named ones.
        xc: sum over X-features of their largest concept's activations, over the named ones.
    """

    cx: Ratio
    xc: Ratio


def purity(category: Category, naming: Naming) -> Purity:
    """CX- and XC-purity of a cleaned naming."""
    named = naming.named
    feature_count = int(category.x_feature.max(initial=-1)) + 1
    table = np.zeros((len(naming.concept_names), feature_count), dtype=np.int64)
    np.add.at(table, (naming.concept[named], category.x_feature[named]), 1)
    total = int(named.sum())
    return Purity(
        cx=Ratio(int(table.max(axis=1, initial=0).sum()), total),
        xc=Ratio(int(table.max(axis=0, initial=0).sum()), total),
    )
