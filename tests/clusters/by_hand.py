"""Train on several machines, with TF_CONFIG by hand. On each, with its own number first:

python by_hand.py 0 host0:12345 host1:12345
python by_hand.py 1 host0:12345 host1:12345

Run by batchlab's tests with two processes on one machine. The directory of the checkpoint must be
one that all machines see: started again, with as many machines as you like, training goes on there.
"""

import json
import os
import sys

from batchlab import Loader, PrioritizedSampler, datasets, resume, train
from batchlab.backend import keras, tf

index, *addresses = sys.argv[1:]
task = {"type": "worker", "index": int(index)}
os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
strategy = tf.distribute.MultiWorkerMirroredStrategy()
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
