"""How imgindex's own VGG16 is made, one module a step.

    data      the pool of labelled pictures: reading, decoding, what is kept out
    augment   random views of pictures, made where the network runs
    teacher   the small pretrained network that is imitated
    network   VGG16 with batch normalisation in torch, and folding it away
    losses    what the pupil is asked for
    plan      how many steps fit the time, at which sizes and rates
    train     the loop: resumable, seeded
    measure   precision at 10 on pictures and classes never trained on; which preprocessing
    rounding  fitting the weights to eight bits, where rounding alone changes too much
    export    our own graph, in eight bits, and how well it agrees with the trained one

``scripts/train_vgg16.py`` runs them in this order.
"""
