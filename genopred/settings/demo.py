"""Settings of `genopred demo`."""

from pathlib import Path

from genopred.settings.parts import Learners, NamedGenes, Seeded


class Demo(NamedGenes, Learners, Seeded, out=Path("genopred-demo")):
    """Run all of genopred on real people and genes that come with the package, with no network.

    358 people of the GEUVADIS study and 28 genes in 2 Mb of chromosome 22: polygenic scores, base learners and the
    stack in nested cross-validation; where torch is installed also sequence features, SNP effects and their overlap
    with eQTLs, by the sequence model that comes with genopred. Ends with the table and the short answers on the
    screen, and one page in the folder OUT.
    """
