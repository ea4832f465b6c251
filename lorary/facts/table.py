"""The facts that routers may need, by name. A new fact is one file and one line here."""

from lorary.facts.calibrations import CALIBRATIONS
from lorary.facts.cards import CARDS
from lorary.facts.components import COMPONENTS
from lorary.facts.embeddings import EMBEDDINGS
from lorary.facts.fact import Fact
from lorary.facts.factors import FACTORS
from lorary.facts.gates import GATES
from lorary.facts.learned import LEARNED
from lorary.facts.learned_prototypes import LEARNED_PROTOTYPES
from lorary.facts.means import MEANS
from lorary.facts.moe import MOE
from lorary.facts.norms import NORMS
from lorary.facts.prototypes import PROTOTYPES
from lorary.facts.tied_prototypes import TIED_PROTOTYPES

FACTS: dict[str, Fact] = {
    fact.name: fact
    for fact in (
        FACTORS,
        LEARNED,
        CARDS,
        PROTOTYPES,
        LEARNED_PROTOTYPES,
        TIED_PROTOTYPES,
        CALIBRATIONS,
        NORMS,
        MEANS,
        COMPONENTS,
        GATES,
        MOE,
        EMBEDDINGS,
    )
}
