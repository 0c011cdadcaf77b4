"""What the papers printed, figure by figure, in percent unless the name says otherwise. Nothing of ours is here.

[DLMU]: Fig. 2 as its text gives it, Fig. 3b, Tables 1 to 4. [ANCHOR]: 3.4.1 (Fig. 4) and 3.4.3.
"""

# [DLMU] 5.2, Fig. 2: (FedAvg, DLMU) on CIFAR-10.
DLMU_CIFAR = {
    "iid": (80.91, 81.48),
    "dirichlet(0.5)": (68.38, 76.63),
    "class(3)": (62.53, 74.93),
    "class(2)": (39.15, 57.14),
}
# [DLMU] Table 1: average absolute difference of the two curves over all rounds, in points.
DLMU_CIFAR_APART = {"iid": 3.38, "dirichlet(0.5)": 6.63, "class(3)": 10.36, "class(2)": 15.19}
# [DLMU] 5.2, Fig. 3b: DLMU minus FedAvg on SHAKESPEARE, in points.
DLMU_TEXT_GAIN = 3.35

# [DLMU] Tables 2 (CIFAR-10), 3 (MNIST) and 4 (FASHION-MNIST): "SGD", without noise.
PLAIN = {"cifar10": 39.15, "mnist": 99.15, "fashion-mnist": 83.42}
# By epsilon: DP-SGD at C = 1, and DDP-SGD.
FIXED_CLIP = {
    "cifar10": {2: 18.22, 3: 23.23, 5: 33.14, 10: 38.45},
    "mnist": {2: 86.51, 3: 92.23, 5: 95.14, 10: 96.39},
    "fashion-mnist": {2: 73.44, 3: 75.72, 5: 78.65, 10: 80.45},
}
DYNAMIC_CLIP = {
    "cifar10": {2: 31.69, 3: 35.18, 5: 38.03, 10: 38.97},
    "mnist": {2: 88.87, 3: 94.18, 5: 97.24, 10: 98.97},
    "fashion-mnist": {2: 76.34, 3: 80.18, 5: 82.24, 10: 82.85},
}
# By C: DP-SGD at epsilon 2. Of Table 2 our copy has two of them.
CLIPS_AT_2 = {
    "cifar10": {1.0: 18.22, 1.5: 18.32},
    "mnist": {0.1: 83.8, 0.5: 84.25, 1.0: 86.51, 1.5: 87.28, 2.0: 86.32},
    "fashion-mnist": {0.1: 71.37, 0.5: 72.76, 1.0: 73.44, 1.5: 73.32, 2.0: 72.78},
}

# [ANCHOR] 3.4.1 and Fig. 4: a period's Merkle tree; a root and a contribution on a proof-of-work chain.
TREE_MS, ANCHOR_S, CONTRIBUTION_S = 250.0, 18.0, 21.0
# [ANCHOR] 3.4.3: of 100 rounds with so many clients a round, models up and down, in kilobytes.
COMMUNICATION_KB = {1: 15.0, 2: 30.0, 3: 45.0, 4: 60.0, 5: 75.0}
COMMUNICATION_ROUNDS = 100
