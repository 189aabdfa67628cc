package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// openFolder opens a model in Hugging Face's layout. Errors call the folder ref.
func openFolder(open source, ref string) (_ *Checkpoint, err error) {
	c := &Checkpoint{ref: ref, tensors: map[string]Tensor{}, beside: open}
	defer func() {
		if err != nil {
			for _, f := range c.files {
				err = errors.Join(err, f.release())
			}
		}
	}()
	take := func(name string) (*file, error) {
		f, err := open(name)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
		return f, nil
	}

	f, err := take("config.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("engine: %s: %w", ref, malformed("the folder has no config.json"))
	}
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	if c.config, err = ParseConfig(f.data); err != nil {
		return nil, fmt.Errorf("engine: %s: %w", f.name, err)
	}
	if err := c.takeWeights(take, ref); err != nil {
		return nil, err
	}
	if err := c.decompress(f.data); err != nil {
		return nil, fmt.Errorf("engine: %s: %w", ref, err)
	}
	tokenizer, err := openTokenizer(take, open)
	if err != nil {
		return nil, err
	}
	tokenizer.config, tokenizer.model = c.config, f.data
	err = c.finish(tokenizer.tokenizer, tokenizer.vocabulary)
	if err != nil {
		return nil, fmt.Errorf("engine: %s: %w", ref, err)
	}
	return c, nil
}

// takeWeights reads model.safetensors or, where there is none, the files that
// model.safetensors.index.json lists.
func (c *Checkpoint) takeWeights(take source, ref string) error {
	f, err := take("model.safetensors")
	if err == nil {
		return c.addSafetensors(f)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("engine: %w", err)
	}
	index, err := take("model.safetensors.index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("engine: %s: %w", ref, malformed("the folder has neither model.safetensors nor model.safetensors.index.json"))
	}
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	var list struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index.data, &list); err != nil {
		return fmt.Errorf("engine: %s: %w", index.name, malformed("%v", err))
	}
	shards := slices.Compact(slices.Sorted(maps.Values(list.WeightMap)))
	if len(shards) == 0 {
		return fmt.Errorf("engine: %s: %w", index.name, malformed("it lists no weights"))
	}
	for _, shard := range shards {
		if shard != path.Base(shard) || strings.ContainsAny(shard, `/\:`) || strings.HasPrefix(shard, ".") {
			return fmt.Errorf("engine: %s: %w", index.name, malformed("%q is no name of a file beside it", shard))
		}
		f, err := take(shard)
		if err != nil {
			return fmt.Errorf("engine: %s lists a file that cannot be read: %w", index.name, err)
		}
		if err := c.addSafetensors(f); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(list.WeightMap)) {
		if _, ok := c.tensors[name]; !ok {
			return fmt.Errorf("engine: %s: %w", index.name, malformed("tensor %s is not in %s", name, list.WeightMap[name]))
		}
	}
	return nil
}

// addSafetensors adds the tensors of a file to those of the model.
func (c *Checkpoint) addSafetensors(f *file) error {
	tensors, err := parseSafetensors(f.data)
	if err != nil {
		return fmt.Errorf("engine: %s: %w", f.name, err)
	}
	for _, t := range tensors {
		if _, ok := c.tensors[t.Name]; ok {
			return fmt.Errorf("engine: %s: %w", f.name, malformed("tensor %s is in another file of the model too", t.Name))
		}
		c.tensors[t.Name] = t
	}
	c.weights += int64(len(f.data))
	return nil
}
