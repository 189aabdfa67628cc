package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Names of the files of a model in Hugging Face's layout.
const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
)

// extraFiles are those that a model may do without.
var extraFiles = []string{
	"added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
}

// maxList and maxIndex bound what is read of a repository's list and of an index, in bytes.
const (
	maxList  = 64 << 20
	maxIndex = 64 << 20
)

// listing is what the hub says of a revision.
type listing struct {
	Commit   string `json:"sha"`
	Siblings []struct {
		Name string `json:"rfilename"`
	} `json:"siblings"`
}

func (l listing) has(name string) bool {
	for _, s := range l.Siblings {
		if s.Name == name {
			return true
		}
	}
	return false
}

// ending lists the files whose names end so, sorted.
func (l listing) ending(suffix string) []string {
	var names []string
	for _, s := range l.Siblings {
		if strings.HasSuffix(strings.ToLower(s.Name), suffix) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

// list asks the hub for the commit of the reference's revision and its files.
func (f *fetch) list(ctx context.Context, tries int) (listing, error) {
	var l listing
	at := fmt.Sprintf("%s/api/models/%s/revision/%s", f.endpoint, f.ref.repo(), url.PathEscape(f.ref.revision()))
	err := f.retry(ctx, tries, func() (bool, error) {
		resp, err := f.send(ctx, http.MethodGet, at, "", 0)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxList+1))
		if err != nil {
			return false, f.broken(ctx, err)
		}
		l = listing{}
		if err := json.Unmarshal(body, &l); err != nil || len(body) > maxList || !commitHash.MatchString(l.Commit) {
			return false, permanentf("%s does not answer as a hub does: no commit and list of files", at)
		}
		return false, nil
	})
	if err == nil && commitHash.MatchString(f.ref.Revision) && l.Commit != f.ref.Revision {
		err = permanentf("%s gives commit %s for commit %s", f.host, l.Commit, f.ref.Revision)
	}
	return l, err
}

// choose names what a reference needs of a revision, without the weights of a model in Hugging Face's layout.
func (l listing) choose(ref Ref) ([]string, error) {
	gguf := l.ending(".gguf")
	if ref.File != "" {
		switch {
		case l.has(ref.File):
			return []string{ref.File}, nil
		case len(gguf) > 0:
			return nil, permanentf("revision %s has no file %s; it has %s", ref.revision(), ref.File, some(gguf))
		}
		return nil, permanentf("revision %s has no file %s", ref.revision(), ref.File)
	}
	switch weights := l.has(weightsFile) || l.has(indexFile); {
	case !weights && len(gguf) > 0:
		ref.File = gguf[0]
		return nil, permanentf("it has GGUF files (%s) and no %s: name one of them, as %s", some(gguf), weightsFile, ref)
	case !weights && len(l.ending(".bin")) > 0:
		return nil, permanentf("it has no %s, and %s is not read here: convert it to safetensors", weightsFile, some(l.ending(".bin")))
	case !weights:
		return nil, permanentf("revision %s has neither %s nor %s", ref.revision(), weightsFile, indexFile)
	case !l.has(configFile):
		return nil, permanentf("revision %s has no %s", ref.revision(), configFile)
	}
	names := []string{configFile}
	for _, s := range l.Siblings {
		tokenizer, _ := path.Match("tokenizer*.json", s.Name)
		if (tokenizer || slices.Contains(extraFiles, s.Name)) && isLocal(s.Name) && !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	if !l.has(weightsFile) {
		names = append(names, indexFile)
	}
	return names, nil
}

// some joins names, not too many of them.
func some(names []string) string {
	const most = 4
	if n := len(names); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}

// readIndex reads which files the weights are divided into.
func readIndex(name string) ([]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	base := filepath.Base(name)
	if err := json.NewDecoder(io.LimitReader(file, maxIndex)).Decode(&index); err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	shards := slices.Compact(slices.Sorted(maps.Values(index.WeightMap)))
	if len(shards) == 0 {
		return nil, fmt.Errorf("%s lists no weights", base)
	}
	for _, s := range shards {
		if !isLocal(s) || s != path.Base(s) || !strings.HasSuffix(s, ".safetensors") {
			return nil, fmt.Errorf("%s: %q is no name of a safetensors file beside it", base, s)
		}
	}
	return shards, nil
}
