package bank

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/safetensors"
)

// Entry is a level to store.
type Entry struct {
	Level   string
	Weights kernel.Packed
	Aliases []int // integers that stand for the level in config files; each for one level of a unit
}

// Put adds levels to a unit, all or none of them. A level that the unit already has stays as it is, with
// the aliases of both; if all have, nothing is written. Errors name the file and leave the bank as it
// was.
func (b *Bank) Put(unit string, levels []Entry) error {
	if err := checkName("unit", unit, unitSigns); err != nil {
		return err
	}
	for _, e := range levels {
		if err := checkName("level", e.Level, levelSigns); err != nil {
			return err
		}
	}
	unlock, err := lock(b.dir)
	if err != nil {
		return err
	}
	defer unlock()
	path := b.path(unit)
	d := description{Version: version, Header: b.header, Unit: unit}
	have := map[string]kernel.Packed{}
	old, err := openShard(path, unit, b.header.ID())
	switch {
	case err == nil:
		defer old.close()
		d.keep(old, have)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt): // nothing that could be kept
	default:
		return b.explain(err)
	}
	changed := false
	for _, e := range levels {
		c, err := d.add(e, have)
		if err != nil {
			return fmt.Errorf("bank: %s: %w", path, err)
		}
		changed = changed || c
	}
	if !changed {
		return nil
	}
	if err := d.check(); err != nil {
		return fmt.Errorf("bank: %s: %w", path, err)
	}
	if err := durable.WriteFrom(path, func(w io.Writer) error { return d.write(w, have) }); err != nil {
		return fmt.Errorf("bank: %w", err)
	}
	return nil
}

// keep takes over the levels of a shard that are sound.
func (d *description) keep(old *shard, have map[string]kernel.Packed) {
	for _, l := range old.Levels {
		if w, err := old.weights(&l); err == nil {
			d.Levels = append(d.Levels, l)
			d.Rows, d.Cols = old.Rows, old.Cols
			have[l.Name] = w
		}
	}
}

// add adds a level and tells whether that changes the shard.
func (d *description) add(e Entry, have map[string]kernel.Packed) (changed bool, err error) {
	i, exists := slices.BinarySearchFunc(d.Levels, e.Level, func(l Level, name string) int { return strings.Compare(l.Name, name) })
	if !exists {
		rows, cols := e.Weights.Shape()
		if len(d.Levels) > 0 && (rows != d.Rows || cols != d.Cols) {
			return false, fmt.Errorf("level %s has shape %d x %d, the unit's others %d x %d", e.Level, rows, cols, d.Rows, d.Cols)
		}
		d.Rows, d.Cols = rows, cols
		d.Levels = slices.Insert(d.Levels, i, Level{
			Name: e.Level, Form: e.Weights.Format(), Bytes: e.Weights.Bytes(), NNZ: e.Weights.NNZ(), Digest: digest(e.Weights),
		})
		have[e.Level] = e.Weights
		changed = true
	}
	l := &d.Levels[i]
	aliases := slices.Clone(l.Aliases)
	for _, n := range e.Aliases {
		if !slices.Contains(aliases, n) {
			aliases = append(aliases, n)
			changed = true
		}
	}
	slices.Sort(aliases)
	l.Aliases = aliases
	return changed, nil
}

// write writes a shard: the header, then all arrays of 16-bit numbers, then those of bytes, so that each
// is aligned.
func (d *description) write(w io.Writer, have map[string]kernel.Packed) error {
	var entries []safetensors.Entry
	var parts []kernel.Part
	for _, types := range [][]string{{"F16", "BF16"}, {"U8"}} {
		for _, l := range d.Levels {
			for _, p := range have[l.Name].Parts() {
				if slices.Contains(types, p.Type) {
					entries = append(entries, safetensors.Entry{Name: l.Name + "/" + p.Name, Type: p.Type, Shape: p.Shape})
					parts = append(parts, p)
				}
			}
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	metadata := map[string]string{"sha256": strings.Repeat("0", sumDigits), "shard": string(text)}
	file := safetensors.Header(metadata, entries, 0, bodyAlign)
	header := file[8:]
	if len(header) > maxHeader {
		return fmt.Errorf("the header of %d levels takes %d bytes, more than %d", len(d.Levels), len(header), maxHeader)
	}
	copy(header[len(headerPrefix):], headerSum(header))
	if _, err := w.Write(file); err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := w.Write(p.Data); err != nil {
			return err
		}
	}
	return nil
}
