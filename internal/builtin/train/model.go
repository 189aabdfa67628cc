package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/safetensors"
)

// AdamW's constants.
const (
	beta1, beta2 = 0.9, 0.95
	epsilon      = 1e-8
	weightDecay  = 0.1 // of the blocks' matrices
	clip         = 1   // the greatest norm of all gradients together
)

// parameter is a tensor that is trained, with its moments.
type parameter struct {
	engine.Required
	decay    bool
	weights  []float32
	m, v     []float32
	gradient []float32
}

// model is a model whose weights change.
type model struct {
	config     engine.Config
	files      folder // config.json and tokenizer.json
	threads    int
	parameters []*parameter          // as engine.Config lists them
	by         map[string]*parameter // by the names of engine.Product
}

// newModel draws the first weights: matrices from a normal distribution of the configuration's initializer_range, those that end on the
// residual stream divided by √(2·layers), as GPT-2's are (Radford et al., Language Models are Unsupervised Multitask Learners, 2.3);
// norms are 1.
func newModel(config, tokenizer []byte, seed uint64, threads int) (*model, error) {
	c, err := engine.ParseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	var j struct {
		Range float64 `json:"initializer_range"`
	}
	if err := json.Unmarshal(config, &j); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if !(j.Range > 0 && j.Range < 1) {
		return nil, fmt.Errorf("config.json: initializer_range is %v, want a number between 0 and 1", j.Range)
	}
	m := &model{config: c, files: folder{"config.json": config, "tokenizer.json": tokenizer}, threads: threads, by: map[string]*parameter{}}
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, r := range c.Tensors() {
		n := 1
		for _, d := range r.Shape {
			n *= d
		}
		p := &parameter{Required: r, weights: make([]float32, n), m: make([]float32, n), v: make([]float32, n), gradient: make([]float32, n)}
		m.parameters = append(m.parameters, p)
		m.by[strings.TrimSuffix(r.Name, ".weight")], m.by[r.Name] = p, p
		switch {
		case len(r.Shape) == 2:
			deviation := j.Range
			if strings.HasSuffix(r.Name, ".o_proj.weight") || strings.HasSuffix(r.Name, ".down_proj.weight") {
				deviation /= math.Sqrt(float64(2 * c.Layers))
			}
			p.decay = strings.HasPrefix(r.Name, "model.layers.")
			for i := range p.weights {
				p.weights[i] = float32(deviation * normal(rng))
			}
		case strings.HasSuffix(r.Name, ".weight"): // a norm; biases are 0
			for i := range p.weights {
				p.weights[i] = 1
			}
		}
	}
	return m, nil
}

// normal is near enough to a number of the standard normal distribution: the sum of twelve uniform ones, each of variance 1/12, which
// is the same bits on every CPU.
func normal(rng *rand.Rand) float64 {
	sum := 0
	for range 3 {
		u := rng.Uint64()
		sum += int(u&0xffff) + int(u>>16&0xffff) + int(u>>32&0xffff) + int(u>>48)
	}
	return float64(sum-6*0xffff) / 0x10000
}

// folder is a model folder in memory.
type folder map[string][]byte

// ReadFile gives a file, which stays the folder's.
func (f folder) ReadFile(name string) ([]byte, error) {
	data, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return data, nil
}

// Open is not what a folder in memory is for.
func (f folder) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// stored is a safetensors file of the weights as they are, in F32 or BF16.
func (m *model) stored(dtype string) []byte {
	entries := make([]safetensors.Entry, len(m.parameters))
	size := int64(0)
	for i, p := range m.parameters {
		entries[i] = safetensors.Entry{Name: p.Name, Type: dtype, Shape: p.Shape}
		size += entries[i].Bytes()
	}
	header := safetensors.Header(map[string]string{"format": "pt"}, entries, 0, 8)
	data := append(make([]byte, 0, int64(len(header))+size), header...)
	for _, p := range m.parameters {
		for _, x := range p.weights {
			if dtype == "BF16" {
				data = binary.LittleEndian.AppendUint16(data, kernel.EncodeBF16(x))
			} else {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
			}
		}
	}
	return data
}

// open opens the model with these weights.
func (m *model) open(weights []byte) (*engine.Checkpoint, error) {
	return engine.OpenFS(folder{"config.json": m.files["config.json"], "tokenizer.json": m.files["tokenizer.json"], "model.safetensors": weights}, "the model")
}

// load opens and loads it, for exact numerics.
func (m *model) load(weights []byte) (*engine.Model, error) {
	ck, err := m.open(weights)
	if err != nil {
		return nil, err
	}
	return engine.Load(ck, engine.Options{Threads: m.threads, Cache: cache})
}

// gradient computes the gradient of the loss on windows, which it returns, in nats a token.
func (m *model) gradient(ctx context.Context, windows [][]int32) (float64, error) {
	loaded, err := m.load(m.stored("F32"))
	if err != nil {
		return 0, err
	}
	defer loaded.Close()
	value, err := loaded.Gradient(ctx, windows, nil, engine.Loss{}, nil, func(p *engine.Product) error {
		rows, _ := p.Shape()
		p.Rows(m.by[p.Name].gradient, 0, rows)
		return nil
	})
	return value.Loss, err
}

// update makes step number step, from 1, of AdamW with the gradient, which is scaled down to a norm of clip where it is longer.
//
// I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, arXiv 1711.05101.
func (m *model) update(step int, rate float64) {
	squares := 0.0
	for _, p := range m.parameters {
		for _, g := range p.gradient {
			squares += float64(g) * float64(g) // exact products: no CPU's fused addition differs
		}
	}
	scale := min(1, clip/(math.Sqrt(squares)+1e-6))
	one, two := 1.0, 1.0 // β^step
	for range step {
		one, two = one*beta1, two*beta2
	}
	size, root := rate/(1-one), math.Sqrt(1-two)
	for _, p := range m.parameters {
		keep := 1.0
		if p.decay {
			keep = 1 - float64(rate*weightDecay)
		}
		for i, x := range p.gradient {
			g := scale * float64(x)
			a := float64(beta1*float64(p.m[i])) + float64((1-beta1)*g)
			b := float64(beta2*float64(p.v[i])) + float64((1-beta2)*float64(g*g))
			p.m[i], p.v[i] = float32(a), float32(b)
			p.weights[i] = float32(float64(keep*float64(p.weights[i])) - size*a/(math.Sqrt(b)/root+epsilon))
		}
	}
}
