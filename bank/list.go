package bank

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Unit describes the levels that a bank has of a unit.
type Unit struct {
	Name   string  `json:"name"`
	Rows   int     `json:"rows"`
	Cols   int     `json:"cols"`
	Levels []Level `json:"levels"` // by name, ascending
}

// List describes the units of the bank, by name, as they are on disk now. Payloads are not checked. A
// shard that cannot be read is left out; the error then names it, beside the units that could be read.
func (b *Bank) List() ([]Unit, error) {
	var units []Unit
	err := b.eachShard(func(s *shard) error {
		units = append(units, Unit{s.Unit, s.Rows, s.Cols, s.Levels})
		return nil
	})
	return units, err
}

// Verify checks every byte of the bank. progress, unless nil, is called after each shard with the
// numbers of bytes checked and in all. The error joins one for each file or level that is damaged, all
// of which wrap [ErrCorrupt], [ErrOtherModel] or [ErrOtherBuild].
func (b *Bank) Verify(ctx context.Context, progress func(done, total int64)) error {
	if _, err := readManifest(b.dir); err != nil {
		return err
	}
	names, total, err := b.shards()
	if err != nil {
		return err
	}
	var errs []error
	done := int64(0)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := openShard(b.path(name), name, b.header.ID())
		if err != nil {
			errs = append(errs, b.explain(err))
			continue
		}
		for i := range s.Levels {
			if _, err := s.weights(&s.Levels[i]); err != nil {
				errs = append(errs, err)
			}
		}
		done += s.length
		errs = append(errs, s.close())
		if progress != nil {
			progress(done, total)
		}
	}
	return errors.Join(errs...)
}

// eachShard calls f with each shard in the order of unit names, and joins the errors.
func (b *Bank) eachShard(f func(*shard) error) error {
	names, _, err := b.shards()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		s, err := openShard(b.path(name), name, b.header.ID())
		if err != nil {
			errs = append(errs, b.explain(err))
			continue
		}
		errs = append(errs, f(s), s.close())
	}
	return errors.Join(errs...)
}

// shards lists the units that have a shard, by name, and the bytes of all shards.
func (b *Bank) shards() (names []string, total int64, err error) {
	entries, err := os.ReadDir(filepath.Join(b.dir, unitsDir)) // sorted by name
	if err != nil {
		return nil, 0, fmt.Errorf("bank: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), shardExt)
		if !ok || checkName("unit", name, unitSigns) != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			names = append(names, name)
			total += info.Size()
		}
	}
	return names, total, nil
}
