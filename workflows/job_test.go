package workflows_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	. "github.com/paretopress/paretopress/workflows"
)

func TestDefaultsAreValid(t *testing.T) {
	for _, j := range []Job{
		{},
		{Space: SpaceSparsity},
		{Space: SpaceDrop, Method: MethodRandom, Target: "drop=0.25"},
		{Model: "m.gguf", Text: "t.txt", Target: "bpw=3"},
		{Schedule: SchedulePublished, Space: SpaceSparsity, Target: "sparsity=0.5", SparsityStep: 10368},
	} {
		j.SetDefaults()
		require.NoError(t, j.Validate())
		again := j
		again.SetDefaults()
		require.Equal(t, j, again)
	}
	var j Job
	j.SetDefaults()
	require.Equal(t, "builtin-quant", j.Name)
}

func TestModelName(t *testing.T) {
	for model, want := range map[string]string{
		"builtin": "builtin", "/models/llama": "llama", "/models/a@b.gguf": "a@b.gguf", "/models/a@b": "a@b",
		"hf:owner/name": "name", "hf:owner/name@0123456789abcdef0123456789abcdef01234567": "name", "hf:owner/name@refs/pr/1": "name",
		"hf:owner/name@main/q4/file.gguf": "file.gguf",
	} {
		require.Equal(t, want, Job{Model: model}.ModelName(), model)
	}
}

// Each error names the flag to mend.
func TestValidateNamesTheFlag(t *testing.T) {
	for flag, spoil := range map[string]func(*Job){
		"--text":               func(j *Job) { j.Model = "m.gguf" },
		"--model":              func(j *Job) { j.Model = "" },
		"--seq-len":            func(j *Job) { j.SeqLen = 1 },
		"--max-windows":        func(j *Job) { j.MaxWindows = -1 },
		"--calibration-tokens": func(j *Job) { j.CalibrationTokens = -1 },
		"--budget":             func(j *Job) { j.Budget = -1 },
		"--workers":            func(j *Job) { j.Workers = -1 },
		"--method":             func(j *Job) { j.Method = "magic" },
		"--numerics":           func(j *Job) { j.Numerics = "float16" },
		"--space":              func(j *Job) { j.Space = "outer" },
		"--schedule":           func(j *Job) { j.Schedule = SchedulePublished },
		"--schedule: \"late":   func(j *Job) { j.Schedule = "late" },
		"--sparsity-step":      func(j *Job) { j.Space, j.SparsityMethod, j.SparsityStep = SpaceSparsity, "magnitude", 0.9 },
		"--quant-method":       func(j *Job) { j.QuantMethod = "sparsegpt" },
		"--sparsity-method":    func(j *Job) { j.Space, j.SparsityMethod = SpaceSparsity, "gptq" },
		"--group":              func(j *Job) { j.Group = -64 },
		"--bits: 9":            func(j *Job) { j.Bits = []int{4, 9} },
		"--bits: 4":            func(j *Job) { j.Bits = []int{4, 4} },
		"--bits: no":           func(j *Job) { j.Bits = []int{} },
		"--target":             func(j *Job) { j.Target = "sparsity=0.5" },
	} {
		var j Job
		j.SetDefaults()
		spoil(&j)
		err := j.Validate()
		require.Error(t, err, flag)
		require.True(t, strings.HasPrefix(err.Error(), flag), "%s: %v", flag, err)
	}
}

func TestParseTarget(t *testing.T) {
	for _, c := range []struct {
		space, text string
		want        Target
	}{
		{SpaceQuant, "", Target{}},
		{SpaceQuant, "bpw=3", Target{TargetBPW, 3}},
		{SpaceQuant, "bpw=2.25", Target{TargetBPW, 2.25}},
		{SpaceSparsity, "sparsity=0.5", Target{TargetSparsity, 0.5}},
		{SpaceSparsity, "sparsity=0", Target{TargetSparsity, 0}},
		{SpaceDrop, "drop=1", Target{TargetDrop, 1}},
		{SpaceDrop, "size=90MB", Target{TargetSize, 90e6}},
		{SpaceDrop, "size=1.5 GiB", Target{TargetSize, 1.5 * (1 << 30)}},
		{SpaceDrop, "size=12345", Target{TargetSize, 12345}},
		{SpaceDrop, "size=10B", Target{TargetSize, 10}},
	} {
		got, err := ParseTarget(c.space, c.text)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, got, c.text)
	}
	for _, c := range []struct{ space, text string }{
		{SpaceQuant, "3"}, {SpaceQuant, "bpw"}, {SpaceQuant, "bpw="}, {SpaceQuant, "bpw=x"}, {SpaceQuant, "bpw=0"}, {SpaceQuant, "bpw=17"},
		{SpaceQuant, "bpw=NaN"}, {SpaceQuant, "bpw=+Inf"}, {SpaceQuant, "sparsity=0.5"}, {SpaceQuant, "size=-1MB"}, {SpaceQuant, "size=0"},
		{SpaceQuant, "size=MB"}, {SpaceQuant, "size=9TB"}, {SpaceQuant, "size=1e300"}, {SpaceSparsity, "sparsity=1.01"}, {SpaceSparsity, "sparsity=-0.1"},
		{SpaceSparsity, "drop=0.5"}, {SpaceDrop, "drop=50%"}, {"", "bpw=3"},
	} {
		_, err := ParseTarget(c.space, c.text)
		require.Error(t, err, "%s %s", c.space, c.text)
		require.True(t, strings.HasPrefix(err.Error(), "--target: "), "%v", err)
		require.Contains(t, err.Error(), c.text)
	}
}

// A job reads back as it was written, under the same keys in YAML and JSON.
func TestJobEncodings(t *testing.T) {
	j := Job{Model: "m.gguf", Text: "t.txt", HeldOutText: "h.txt", MaxWindows: 7, Target: "bpw=3", Seed: 1 << 63, Bank: "b",
		ModelDigest: "d1", TextDigest: "d2", HeldOutTextDigest: "d3"}
	j.SetDefaults()
	y, err := yaml.Marshal(j)
	require.NoError(t, err)
	var back Job
	require.NoError(t, yaml.Unmarshal(y, &back))
	require.Equal(t, j, back)
	b, err := json.Marshal(j)
	require.NoError(t, err)
	var fromJSON map[string]any
	require.NoError(t, json.Unmarshal(b, &fromJSON))
	var fromYAML map[string]any
	require.NoError(t, yaml.Unmarshal(y, &fromYAML))
	require.Len(t, fromYAML, len(fromJSON))
	for key := range fromJSON {
		require.Contains(t, fromYAML, key)
	}
}
