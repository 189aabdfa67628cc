package bank

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/kernel"
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
	type named struct {
		name string
		kernel.Part
	}
	var parts []named
	for _, width := range []int64{2, 1} {
		for _, l := range d.Levels {
			for _, p := range have[l.Name].Parts() {
				if typeBytes[p.Type] == width {
					parts = append(parts, named{l.Name + "/" + p.Name, p})
				}
			}
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	quoted, err := json.Marshal(string(text))
	if err != nil {
		return err
	}
	header := bytes.NewBufferString(headerPrefix + strings.Repeat("0", sumDigits) + headerMiddle)
	header.Write(quoted)
	header.WriteByte('}')
	end := int64(0)
	for _, p := range parts {
		from := end
		end += int64(len(p.Data))
		entry, err := json.Marshal(tensor{p.Type, p.Shape, [2]int64{from, end}})
		if err != nil {
			return err
		}
		fmt.Fprintf(header, ",%q:%s", p.name, entry)
	}
	header.WriteByte('}')
	for (8+header.Len())%bodyAlign != 0 {
		header.WriteByte(' ')
	}
	if header.Len() > maxHeader {
		return fmt.Errorf("the header of %d levels takes %d bytes, more than %d", len(d.Levels), header.Len(), maxHeader)
	}
	head := header.Bytes()
	copy(head[len(headerPrefix):], headerSum(head))
	if err := binary.Write(w, binary.LittleEndian, uint64(len(head))); err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := w.Write(p.Data); err != nil {
			return err
		}
	}
	return nil
}
