"""Made-up results for the tests of what reads them."""


def times(p50, spread=0.05):
    return {"p20": p50 * (1 - spread), "p50": p50, "p80": p50 * (1 + spread)}


def record(name="X, 10 videos", microseconds=None, **more):
    return {
        "name": name,
        "item": "pair",
        "items": 10,
        "settings": {"videos": 10, "flop": 2000.0, "bytes": 100.0},
        "check": {"largest difference": 0.001},
        "microseconds": microseconds or {"vtr": times(2.0), "PyTorch eager": times(100.0)},
        "times_faster": {"PyTorch eager": {"p20": 45.0, "p50": 50.0, "p80": 55.0, "clear": True}},
        "leaves_out": "encoding",
        "skipped": {"FAISS flat": "faiss is not installed: pip install 'faiss-cpu'"},
        "of_ceiling": {"peak": "bf16_tflops", "fraction": 0.25},
        **more,
    }


def results(cases=None, **more):
    return {
        "format": 1,
        "date": "2026-01-02",
        "machine": {"cpu": "A Processor", "cores": 2, "isa": "avx2", "memory_gib": 7.5, "system": "Linux x"},
        "versions": {"vtr": "0.1.0", "torch": "2.0"},
        "threads": 2,
        "quick": False,
        "ceilings": {"fp32_tflops": 0.3, "bf16_tflops": 1.9, "read_gb_s": 20.0, "copy_gb_s": 22.0},
        "cases": {"score": [record()]} if cases is None else cases,
        "skipped": {},
        "failed": {},
        **more,
    }
