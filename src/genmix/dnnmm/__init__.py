"""DNN-MM: Pande & Awate, "Deep Generative Mixture Models", ICPR 2020. MinMax+EM (eq. 13) is in `model`."""
