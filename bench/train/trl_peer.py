"""One run of TRL + PEFT, in its own Python: prints steps and memory as JSON on the last line.

Usage: trl_peer.py MODEL_FOLDER WORK.json THREADS (compare.py writes WORK.json)."""
import importlib.metadata
import json
import os
import resource
import sys
import tempfile
import time

folder, work_path, threads = sys.argv[1:4]
os.environ["OMP_NUM_THREADS"] = threads
os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402: after the number of threads is set
from datasets import Dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: E402

torch.set_num_threads(int(threads))
with open(work_path, encoding="utf-8") as file:
    work = json.load(file)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
steps = []


class Clock(TrainerCallback):
    def on_step_begin(self, *_, **__):
        steps.append({"tokens": 0, "padded": 0, "began": time.perf_counter()})

    def on_step_end(self, *_, **__):
        steps[-1]["seconds"] = time.perf_counter() - steps[-1].pop("began")


def count(_module, _args, kwargs):
    """Real and padded tokens of the pass that learns (DPO's reference has a pass of its own)."""
    if steps and torch.is_grad_enabled() and kwargs.get("attention_mask") is not None:
        steps[-1]["tokens"] += int(kwargs["attention_mask"].sum())
        steps[-1]["padded"] += kwargs["attention_mask"].numel()


lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
with tempfile.TemporaryDirectory() as out:
    # What TRL does by itself, but for what would cost it time: gradient checkpointing is off.
    settings = {
        "output_dir": out, "max_steps": work["steps"], "per_device_train_batch_size": work["batch"],
        "max_length": work["max_length"], "train_sampling_strategy": "sequential", "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "report_to": [], "save_strategy": "no", "disable_tqdm": True,
    }
    shared = {"model": model, "train_dataset": Dataset.from_list(work["rows"]), "processing_class": tokenizer,
              "peft_config": lora, "callbacks": [Clock()]}
    if work["dpo"]:
        trainer = DPOTrainer(args=DPOConfig(**settings), **shared)
    else:
        trainer = SFTTrainer(args=SFTConfig(completion_only_loss=True, shuffle_dataset=False, **settings), **shared)
    model.register_forward_pre_hook(count, with_kwargs=True)
    trainer.train()
print(json.dumps({
    "steps": steps, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    "versions": {name: importlib.metadata.version(name) for name in ("trl", "peft", "transformers", "torch")},
}))
