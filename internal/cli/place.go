package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// jobKind is what runs and trainings differ in as jobs.
type jobKind struct {
	name    string // for people
	command string // that starts them
	file    string // of their folders
}

var (
	aRun      = jobKind{name: "run", command: "run", file: runFile}
	aTraining = jobKind{name: "training", command: "finetune", file: trainingFile}
)

// placed is where a job that is about to be started or resumed belongs.
type placed struct {
	id, folder string
	again      bool // the folder holds this job already
}

// unsafeName matches what does not belong into a job's id.
var unsafeName = regexp.MustCompile(`[^A-Za-z0-9._=-]+`)

// place decides the id and the folder of a job from its name and its key, equal for the same work, and looks at what the folder holds. keyIn is the key of
// the job in a folder; where there is none its error is fs.ErrNotExist.
func (s *session) place(k jobKind, name string, key []byte, rf runFlags, keyIn func(folder string) ([]byte, error)) (p placed, err error) {
	sum := sha256.Sum256(key)
	p.id = unsafeName.ReplaceAllString(name, "-") + "-" + hex.EncodeToString(sum[:4])
	p.folder = filepath.Join(s.runsDir(), p.id)
	if rf.out != "" {
		p.folder = rf.out
	}
	if p.folder, err = filepath.Abs(p.folder); err != nil {
		return p, err
	}
	old, err := keyIn(p.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if rf.resume {
			return p, usagef("--resume: %s holds no %s", p.folder, k.name)
		}
		for _, other := range []jobKind{aRun, aTraining} {
			if _, err := os.Stat(filepath.Join(p.folder, other.file)); err == nil {
				return p, usagef("--out: %s holds a %s; take another folder", p.folder, other.name)
			}
		}
		return p, nil
	case err != nil:
		return p, err
	case string(old) != string(key):
		return p, usagef("--out: %s holds a %s of another job; take another folder, or go on with it by %s --resume --out %s", p.folder, k.name, k.command, p.folder)
	}
	p.again = true
	return p, nil
}

// placeResumed takes the id from the folder of an earlier job. Of the flags of a job, bound in of, only those named may be given beside it.
func (s *session) placeResumed(k jobKind, flags, of *pflag.FlagSet, out string, but ...string) (placed, error) {
	var bad []string
	flags.Visit(func(f *pflag.Flag) {
		if of.Lookup(f.Name) != nil && !slices.Contains(but, f.Name) || f.Name == "file" {
			bad = append(bad, "--"+f.Name)
		}
	})
	if len(bad) > 0 {
		return placed{}, usagef("--resume --out takes the job from the folder; leave out %s", strings.Join(bad, ", "))
	}
	folder, err := s.findWith(out, k)
	if err != nil {
		return placed{}, err
	}
	id, err := runID(folder)
	return placed{id: id, folder: folder, again: true}, err
}

// jobFrom reads a job from a YAML file; no name is an empty job.
func jobFrom[T any](file string, decode func([]byte) (T, error)) (job T, err error) {
	if file == "" {
		return job, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return job, usagef("--file: %w", err)
	}
	if job, err = decode(b); err != nil {
		return job, usagef("--file: %s: %w", file, err)
	}
	return job, nil
}
