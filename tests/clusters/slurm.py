"""Train on several machines that Slurm gives. Start it with `srun` in a job script:

#!/bin/bash
#SBATCH --nodes=2 --ntasks-per-node=1
srun python slurm.py

batchlab's tests run it with two processes that get Slurm's variables by hand; it has not been run on
a cluster. The directory of the checkpoint must be one that all machines see: started again, with as
many machines as you like, training goes on there.
"""

import os

from batchlab import Loader, PrioritizedSampler, datasets, resume, train
from batchlab.backend import keras, tf

# One GPU for each task; it wants a number here even where there is none.
tasks = int(os.environ["SLURM_STEP_TASKS_PER_NODE"].partition("(")[0])
cluster = tf.distribute.cluster_resolver.SlurmClusterResolver(
    port_base=int(os.environ.get("PORT", "8888")), gpus_per_node=tasks, gpus_per_task=1
)
strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster)
with strategy.scope():
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(2)]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

data = datasets.moons()
sampler = PrioritizedSampler(len(data.y_train), batch_size=64)  # of all workers together
loader = Loader(data.x_train, data.y_train, sampler=sampler)
saved = os.environ.get("CHECKPOINT", "checkpoint")
history = resume(saved, model, loader) if os.path.exists(f"{saved}/checkpoint.npz") else None
history = train(model, loader, epochs=4, checkpoint=saved, history=history, verbose=0)
print(history.history["loss"])
