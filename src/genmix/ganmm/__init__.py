"""GANMM: Yu & Zhou, "Mixture of GANs for Clustering", IJCAI 2018. Algorithm 1 is in `model`."""
