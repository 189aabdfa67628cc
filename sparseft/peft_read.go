package sparseft

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// ReadPEFT reads an adapter of type LORA in the layout of Hugging Face PEFT, as [Delta.PEFT] writes it: float32 factors of one rank and scale. Of what it
// adds it returns all but the digests of the weights. Errors name what is wrong with it, also where PEFT would add something else.
func ReadPEFT(config, weights []byte) ([]TensorDelta, error) {
	var c struct {
		Type   string         `json:"peft_type"`
		Rank   int            `json:"r"`
		Alpha  float64        `json:"lora_alpha"`
		Root   bool           `json:"use_rslora"`
		DoRA   bool           `json:"use_dora"`
		Turned bool           `json:"fan_in_fan_out"`
		Ranks  map[string]any `json:"rank_pattern"`
		Alphas map[string]any `json:"alpha_pattern"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("sparseft: adapter_config.json: %v", err)
	}
	if c.Type != "LORA" || c.Rank < 1 || math.Abs(c.Alpha) > math.MaxFloat32 || c.Root || c.DoRA || c.Turned || len(c.Ranks)+len(c.Alphas) > 0 {
		return nil, fmt.Errorf("sparseft: adapter_config.json: type %q, r %d, lora_alpha %v: no plain LoRA of one rank and scale", c.Type, c.Rank, c.Alpha)
	}
	_, entries, err := readEntries(weights)
	if err != nil {
		return nil, fmt.Errorf("sparseft: adapter_model.safetensors: %w", err)
	}
	var list []TensorDelta
	at := map[string]int{}
	for _, e := range entries {
		name, isB := strings.CutSuffix(strings.TrimPrefix(e.name, peftPrefix), ".lora_B.weight")
		name, isA := strings.CutSuffix(name, ".lora_A.weight")
		data, floats := e.data.([]float32)
		if isA == isB || !floats || len(e.shape) != 2 || finite(data) >= 0 {
			return nil, fmt.Errorf("sparseft: adapter_model.safetensors: tensor %s of shape %v is no factor of finite float32 numbers", e.name, e.shape)
		}
		i, ok := at[name]
		if !ok {
			i = len(list)
			at[name], list = i, append(list, TensorDelta{Name: name, Rank: c.Rank, Scale: c.Alpha / float64(c.Rank)})
		}
		rank := e.shape[1]
		if t := &list[i]; isA {
			rank, t.Cols, t.A = e.shape[0], e.shape[1], data
		} else {
			t.Rows, t.B = e.shape[0], data
		}
		if rank != c.Rank {
			return nil, fmt.Errorf("sparseft: adapter_model.safetensors: tensor %s of shape %v, want rank %d", e.name, e.shape, c.Rank)
		}
	}
	for i := range list {
		if t := &list[i]; t.A == nil || t.B == nil || t.Rows > math.MaxInt32/max(t.Cols, 1) {
			return nil, fmt.Errorf("sparseft: adapter_model.safetensors: the factors of %s are not two, or of too many weights", t.Name)
		}
	}
	return list, nil
}
