package evalworker

import (
	"fmt"
	"slices"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/quant"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// Units that are not in a block.
const (
	unitEmbedding = "model.embed_tokens" // the head as well where the two are tied
	unitHead      = "lm_head"
)

// matrix is a unit that is one matrix.
type matrix struct {
	name       string
	rows, cols int
	block      int // Config.Layers: the head, whose input is calibrated; -1: the embeddings, which have none
}

// matrices lists the linear modules, the embeddings and the head in forward order.
func matrices(c engine.Config) []matrix {
	embedding := matrix{unitEmbedding, c.Vocab, c.Hidden, -1}
	if c.TieEmbeddings {
		embedding.block = c.Layers
	}
	all := []matrix{embedding}
	for _, m := range c.Modules() {
		all = append(all, matrix{m.Name, m.Rows, m.Cols, m.Block})
	}
	if !c.TieEmbeddings {
		all = append(all, matrix{unitHead, c.Vocab, c.Hidden, c.Layers})
	}
	return all
}

// ggufUnits adds the matrices of a model with the types of ggml that their rows admit, at the bytes that they take in a GGUF
// file. Of types of equal size the one that the job names first counts.
func ggufUnits(s *search.Space, c engine.Config, job workflows.Job, sizes *export.GGUFSizes) error {
	s.FixedBytes, s.Loose = sizes.Fixed, true
	for _, m := range matrices(c) {
		method := quant.Method(job.QuantMethod)
		if m.block < 0 { // looked up and never multiplied: there is no input to calibrate by
			method = quant.RTN
		}
		u := search.Unit{Name: m.name, Params: int64(m.rows) * int64(m.cols)}
		var unfit error
		for _, name := range job.Types {
			t, ok := kernel.ParseGGMLType(name)
			if !ok {
				return fmt.Errorf("evalworker: --types: ggml has no type %q for levels", name)
			}
			spec, err := quant.NewGGML(method, t)
			if err != nil {
				return err
			}
			if unfit = spec.Fits(m.rows, m.cols); unfit != nil {
				continue
			}
			bytes, err := sizes.Unit(m.name, t)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(u.Levels, func(l search.Level) bool { return l.Bytes == bytes }) {
				u.Levels = append(u.Levels, search.Level{Name: spec.String(), Bytes: bytes})
			}
		}
		if len(u.Levels) == 0 {
			return fmt.Errorf("evalworker: --types: none applies to %s: %w", m.name, unfit)
		}
		slices.SortFunc(u.Levels, func(a, b search.Level) int { return int(b.Bytes - a.Bytes) })
		s.Units = append(s.Units, u)
	}
	return nil
}
