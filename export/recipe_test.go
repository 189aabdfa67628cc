package export

import (
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
)

// named is a candidate of levels without weights, whose names have a bank behind them.
func named(levels map[string]string) engine.Candidate {
	c := engine.Candidate{}
	for unit, name := range levels {
		c[unit] = engine.Level{Name: name + " 0123456789abcdef"}
	}
	return c
}

func TestRecipe(t *testing.T) {
	got, err := Recipe(engine.Config{Layers: 2}, named(map[string]string{
		"model.layers.0.self_attn.q_proj": "gptq-4b-g64", "model.layers.1.self_attn.q_proj": "gptq-4b-g64", "model.layers.1.self_attn.k_proj": "gptq-3b-gall-sym",
		"model.layers.0.mlp.up_proj": "sparsegpt-0.50", "model.layers.1.mlp.up_proj": "sparsegpt-2:4",
		"model.layers.0.mlp.down_proj": "fp8", "model.layers.1.mlp.down_proj": "rtn-8b-g32", "model.layers.0.self_attn.v_proj": "dense",
	}))
	if err != nil {
		t.Fatal(err)
	}
	const want = `sparse_1_stage:
  sparse_modifiers:
    SparseGPTModifier:
      sparsity: 0.50
      mask_structure: '0:0'
      block_size: 128
      dampening_frac: 0.01
      targets:
        - 're:.*\.layers\.(0)\.mlp\.(up_proj)$'
sparse_2_stage:
  sparse_modifiers:
    SparseGPTModifier:
      sparsity: 0.5
      mask_structure: '2:4'
      block_size: 128
      dampening_frac: 0.01
      targets:
        - 're:.*\.layers\.(1)\.mlp\.(up_proj)$'
gptq_stage:
  gptq_modifiers:
    GPTQModifier:
      block_size: 128
      dampening_frac: 0.01
      actorder: null
      ignore:
        - 're:.*\.layers\.(0)\.self_attn\.(k_proj)$'
        - 're:.*\.layers\.\d+\.self_attn\.(v_proj|o_proj)$'
        - 're:.*\.layers\.\d+\.mlp\.(gate_proj)$'
        - 'lm_head'
      config_groups:
        group_0:
          targets:
            - 're:.*\.layers\.(1)\.self_attn\.(k_proj)$'
          weights: {num_bits: 3, type: int, symmetric: true, strategy: channel, group_size: null, dynamic: false}
        group_1:
          targets:
            - 're:.*\.layers\.\d+\.self_attn\.(q_proj)$'
          weights: {num_bits: 4, type: int, symmetric: false, strategy: group, group_size: 64, dynamic: false}
quantization_stage:
  quantization_modifiers:
    QuantizationModifier:
      ignore:
        - 're:.*\.layers\.(0)\.self_attn\.(k_proj)$'
        - 're:.*\.layers\.\d+\.self_attn\.(v_proj|o_proj)$'
        - 're:.*\.layers\.\d+\.mlp\.(gate_proj)$'
        - 'lm_head'
      config_groups:
        group_0:
          targets:
            - 're:.*\.layers\.(0)\.mlp\.(down_proj)$'
          weights: {num_bits: 8, type: float, symmetric: true, strategy: channel, group_size: null, dynamic: false}
        group_1:
          targets:
            - 're:.*\.layers\.(1)\.mlp\.(down_proj)$'
          weights: {num_bits: 8, type: int, symmetric: false, strategy: group, group_size: 32, dynamic: false}
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
}

func TestRecipeRefuses(t *testing.T) {
	for unit, name := range map[string]string{
		"model.layers.0.self_attn": "drop", "model.layers.0.mlp.up_proj": "magnitude-0.50", "model.layers.0.mlp.down_proj": "q4_K", "lm_head": "int8",
		"model.layers.1.mlp.down_proj": "gptq-9b-g64", "model.layers.1.mlp.up_proj": "dense",
	} {
		_, err := Recipe(engine.Config{Layers: 2}, named(map[string]string{unit: name}))
		if err == nil || strings.Contains(err.Error(), "\n") || name != "dense" && (!strings.Contains(err.Error(), unit) || !strings.Contains(err.Error(), "level "+name)) {
			t.Errorf("%s: %s: %v", unit, name, err)
		}
	}
}

func TestEvoPressLevels(t *testing.T) {
	c := engine.Config{Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 2, Hidden: 2, FFN: 2}
	number := func(unit, level string) (int, bool) {
		n, ok := map[string]int{"dense": 16, "gptq-3b-g128": 3, "sparsegpt-0.40": -2}[level]
		return n, ok && unit != ""
	}
	got, err := EvoPressLevels(c, named(map[string]string{"model.layers.0.self_attn.k_proj": "gptq-3b-g128", "model.layers.0.mlp.down_proj": "sparsegpt-0.40"}), number)
	const want = `model.layers.0.self_attn.q_proj: 16
model.layers.0.self_attn.k_proj: 3
model.layers.0.self_attn.v_proj: 16
model.layers.0.self_attn.o_proj: 16
model.layers.0.mlp.gate_proj: 16
model.layers.0.mlp.up_proj: 16
model.layers.0.mlp.down_proj: -2
`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	for unit, name := range map[string]string{"model.layers.0.mlp": "drop", "lm_head": "gptq-3b-g128", "model.layers.0.mlp.up_proj": "fp8"} {
		if _, err := EvoPressLevels(c, named(map[string]string{unit: name}), number); err == nil || !strings.Contains(err.Error(), unit) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %s: %v", unit, name, err)
		}
	}
}

func TestEvoPressDrops(t *testing.T) {
	got, err := EvoPressDrops(engine.Config{Layers: 4}, named(map[string]string{
		"model.layers.0.mlp": "drop", "model.layers.2.mlp": "drop", "model.layers.2.self_attn": "drop", "model.layers.3.self_attn": "drop", "model.layers.1.mlp.up_proj": "dense",
	}))
	if err != nil || string(got) != "mlp\nnone\nattn+mlp\nattn\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := EvoPressDrops(engine.Config{Layers: 4}, named(map[string]string{"model.layers.1.mlp.up_proj": "drop"})); err == nil || !strings.Contains(err.Error(), "model.layers.1.mlp.up_proj") {
		t.Errorf("a module: %v", err)
	}
}
