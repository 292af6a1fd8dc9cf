"""lm-eval's `hf` and `vllm` models for K samples per problem: `--model hf-passk` and `--model vllm-passk`.

They subclass lm-eval's own and change how completions are generated, nothing else. `sampler` is what
both share, `hf` and `vllm` are the two classes, `decode` is the loop over tokens of the first.
"""
