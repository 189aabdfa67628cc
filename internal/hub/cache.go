package hub

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/paretopress/paretopress/internal/durable"
)

// folder is the name of the repository's folder in the cache.
func (f *fetch) folder() string { return "models--" + f.ref.Owner + "--" + f.ref.Name }

// in is a path in the repository's folder.
func (f *fetch) in(elements ...string) string {
	return filepath.Join(append([]string{f.cache, f.folder()}, elements...)...)
}

// pointer is where a file of a commit lies; the folder of the commit if no file is named.
func (f *fetch) pointer(commit, file string) string {
	return f.in("snapshots", commit, filepath.FromSlash(file))
}

// lastCommit is the commit that the reference names, as far as the cache knows.
func (f *fetch) lastCommit() (string, bool) {
	if commitHash.MatchString(f.ref.Revision) {
		return f.ref.Revision, true
	}
	b, err := os.ReadFile(f.in("refs", filepath.FromSlash(f.ref.revision())))
	commit := strings.TrimSpace(string(b))
	return commit, err == nil && commitHash.MatchString(commit)
}

// noteCommit remembers the commit of the reference's revision. A cache that cannot be written to serves as it is.
func (f *fetch) noteCommit(commit string) {
	if have, ok := f.lastCommit(); ok && have == commit {
		return
	}
	_ = durable.Write(f.in("refs", filepath.FromSlash(f.ref.revision())), []byte(commit))
}

// noteAbsent remembers which files a commit does not have, so that the cache is known to have it whole.
func (f *fetch) noteAbsent(l listing) {
	for _, name := range extraFiles {
		path := f.in(".no_exist", l.Commit, name)
		if l.has(name) || exists(path) {
			continue
		}
		if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
			_ = os.WriteFile(path, nil, 0o644) // as for noteCommit
		}
	}
}

// cached returns where a commit lies if the cache has it: of a model in Hugging Face's layout at least the
// configuration and the weights and, if it is to be whole, all that the repository is not known to lack.
func (f *fetch) cached(commit string, whole bool) (string, bool) {
	path := f.pointer(commit, f.ref.File)
	if f.ref.File != "" {
		return path, exists(path)
	}
	need := []string{configFile, weightsFile}
	if !exists(f.pointer(commit, weightsFile)) {
		shards, err := readIndex(f.pointer(commit, indexFile))
		if err != nil {
			return path, false
		}
		need = append(shards, configFile)
	}
	for _, name := range need {
		if !exists(f.pointer(commit, name)) {
			return path, false
		}
	}
	for _, name := range extraFiles {
		if whole && !exists(f.pointer(commit, name)) && !exists(f.in(".no_exist", commit, name)) {
			return path, false
		}
	}
	return path, true
}

// exists reports whether there is a file, or a link that leads to one.
func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// point makes a blob the file of a commit: by a relative symbolic link, or where the file system has none by a hard
// link, or by a copy.
func (f *fetch) point(commit, name, blob string) error {
	pointer := f.pointer(commit, name)
	if exists(pointer) {
		return nil
	}
	dir := filepath.Dir(pointer)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	target, err := filepath.Rel(dir, blob)
	if err != nil {
		return err
	}
	if err := os.Remove(pointer); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that leads nowhere
		return err
	}
	err = f.symlink(target, pointer)
	if err != nil && !exists(pointer) {
		if blob, err = filepath.EvalSymlinks(blob); err != nil {
			return err
		}
		err = f.link(blob, pointer)
	}
	if err == nil || exists(pointer) { // another process may have been quicker
		return nil
	}
	return durable.WriteFrom(pointer, func(w io.Writer) error {
		file, err := os.Open(blob)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(w, file)
		return err
	})
}
