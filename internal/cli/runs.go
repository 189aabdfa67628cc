package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/paretopress/paretopress/internal/durable"
)

// A run, or a training, is known by its id or by its folder. Those whose folder lies elsewhere have a file in the
// runs folder of the data folder that holds the path.

// runsDir is where runs are kept unless --out says otherwise.
func (s *session) runsDir() string { return filepath.Join(s.data, "runs") }

// registerRun makes a run findable by its id.
func (s *session) registerRun(id, folder string) error {
	entry := filepath.Join(s.runsDir(), id)
	if entry == folder {
		return nil
	}
	if info, err := os.Stat(entry); err == nil && info.IsDir() {
		return usagef("a job with the id %s is already in %s; take another --name or --seed", id, entry)
	}
	return durable.Write(entry, []byte(folder+"\n"))
}

// Files that a run's and a training's folder have.
const (
	runFile      = "job.yaml"
	trainingFile = "finetune.yaml"
)

// findRun returns the folder of a run that is named by its id or its folder.
func (s *session) findRun(run string) (string, error) { return s.findWith(run, aRun) }

// findWith returns the folder of a job of a kind.
func (s *session) findWith(name string, k jobKind) (string, error) {
	folder, err := s.findJob(name, k.name)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(folder, k.file)); err != nil {
		return "", usagef("%s is not the folder of a %s: it has no %s", folder, k.name, k.file)
	}
	return folder, nil
}

// findJob returns the folder of a run or training that is named by its id or its folder; what says which of the two is looked for.
func (s *session) findJob(run, what string) (string, error) {
	for _, at := range []string{run, filepath.Join(s.runsDir(), run)} {
		folder, err := runAt(at)
		if err == nil {
			return filepath.Abs(folder)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", usagef("%q is neither a %s folder nor the id of a %s in %s (paretopress jobs list shows them)", run, what, what, s.runsDir())
}

// runAt returns the folder of a run or training that path is or refers to.
func runAt(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		if info.Size() > 4096 {
			return "", fs.ErrNotExist
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		path = strings.TrimSpace(string(b))
	}
	if isTraining(path) {
		return path, nil
	}
	if _, err := os.Stat(filepath.Join(path, runFile)); err != nil {
		return "", err
	}
	return path, nil
}

// isTraining reports whether a folder is that of a training.
func isTraining(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, trainingFile))
	return err == nil
}

// runID reads the id of the run in folder.
func runID(folder string) (string, error) {
	b, err := os.ReadFile(filepath.Join(folder, "id"))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// listRuns returns the folders of all runs and trainings of the data folder by id.
func (s *session) listRuns() (ids, folders []string, err error) {
	entries, err := os.ReadDir(s.runsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range entries {
		folder, err := runAt(filepath.Join(s.runsDir(), e.Name()))
		if err != nil {
			continue // a folder that was removed, or that never was a run
		}
		ids, folders = append(ids, e.Name()), append(folders, folder)
	}
	return ids, folders, nil
}
