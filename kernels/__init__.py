"""GPU kernels in Triton, each with its launcher, and the compiler that makes cubins of them ahead of time.

How to read them. A file holds one kernel or a small group: the formula and the count of bytes and operations
in its first lines, the ``@triton.jit`` bodies, then the host side (what a query or a head looks like in
memory, in NumPy, and the launcher). Rows of buffers are addressed with 64 bits, sums are float32, and
features are fp16 or bf16. Block sizes come from :mod:`vtr.kernels.config` alone. Beside a kernel stands the
same in plain torch, ``..._reference``: the formula as the paper has it, which tests compare with.

====================  =================================================================================
``tcmgc``             TC-MGC's logits in Gram space: attention, SR, Bi-SR, ISA and LSA in one kernel
``tcmgc_buffers``     texts and heads as ``tcmgc`` reads them
``tcmgc_reference``   TC-MGC and its Gram statistics in plain torch
``xclip``             X-CLIP's logits: four granularities in one kernel
``holistic``          dot products and the best of every block
``topk``              the best of many scores, in rounds
``aggregate``         frames to one vector: masked mean, excitation, aggregation, AFA; frames read once
``intra``             EA's factor of every frame, which ``aggregate`` takes
``gram``              what TC-MGC stores of a video, from its frames
``multi_grained``     products of a tile of videos, shared by ``xclip`` and ``tcmgc``
``numerics``          products and softmax, shared by all
``networks``          sorting in registers
``aot``               cubins, PTX and ``kernels.json`` with no GPU present
====================  =================================================================================

Without a GPU the kernels run in Triton's interpreter (``TRITON_INTERPRET=1`` before the import), which is how
they are tested, and compile for every architecture.
"""
