package evalworker

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
)

// chatML is a template of the kind that SmolLM2 and Qwen2 have.
const chatML = `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>system
You help.</s>
' }}{% endif %}{{'<s>' + message['role'] + '
' + message['content'] + '</s>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant
' }}{% endif %}`

// withTemplate gives the tiny model a chat template, if it is not empty.
func withTemplate(t *testing.T, template string) *engine.Checkpoint {
	t.Helper()
	dir := tiny(t)
	if template != "" {
		writeFile(t, filepath.Join(dir, "tokenizer_config.json"), encodeJSON(map[string]any{"chat_template": template}))
	}
	ck, err := engine.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	return ck
}

// bracketed is an example as text, with brackets around what is to be predicted.
func bracketed(t *testing.T, ck *engine.Checkpoint, tokens []int32, counted []bool) string {
	t.Helper()
	tok, err := ck.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i, id := range tokens {
		if counted[i] && (i == 0 || !counted[i-1]) {
			b.WriteString("[")
		}
		b.Write(tok.Decode([]int32{id}))
		if counted[i] && (i+1 == len(tokens) || !counted[i+1]) {
			b.WriteString("]")
		}
	}
	return b.String()
}

// TestInstructions reads the three forms of lines with and without a chat template.
func TestInstructions(t *testing.T) {
	lines := strings.Join([]string{
		"\ufeff" + `{"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}, {"role": "user", "content": "3+3?"}, {"role": "assistant", "content": "6"}]}`,
		"",
		`{"prompt": "Hi", "completion": "Hello."}`,
		`{"instruction": "Add.", "input": "1 1", "output": "2"}`,
	}, "\n")
	const system = "<s>system\nYou help.</s>\n"
	for _, test := range []struct {
		template string
		lines    string
		want     []string
	}{
		{chatML, lines, []string{
			system + "<s>user\n2+2?</s>\n<s>assistant\n[4</s>\n]<s>user\n3+3?</s>\n<s>assistant\n[6</s>\n]",
			system + "<s>user\nHi</s>\n<s>assistant\n[Hello.</s>\n]",
			system + "<s>user\nAdd.\n\n1 1</s>\n<s>assistant\n[2</s>\n]",
		}},
		{"", strings.SplitN(lines, "\n", 3)[2], []string{"Hi[Hello.]", "Add.\n\n1 1[2]"}},
	} {
		ck := withTemplate(t, test.template)
		e, err := instructionExamples(source{name: "x.jsonl", data: []byte(test.lines)}, ck, 512)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range e.tokens {
			got = append(got, bracketed(t, ck, e.tokens[i], e.counted[i]))
		}
		if !slices.Equal(got, test.want) || e.cut != 0 || e.left != 0 {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestInstructionsCut counts what is too long.
func TestInstructionsCut(t *testing.T) {
	ck := withTemplate(t, "")
	data := []byte(`{"prompt": "ab", "completion": "cdefgh"}` + "\n" + `{"prompt": "a very long prompt", "completion": "x"}` + "\n" + `{"prompt": "a", "completion": "b"}`)
	e, err := instructionExamples(source{name: "x", data: data}, ck, 6)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.tokens) != 2 || e.cut != 2 || e.left != 1 || e.predictions() != 4+1 || bracketed(t, ck, e.tokens[0], e.counted[0]) != "ab[cdef]" {
		t.Errorf("%+v", e)
	}
}

func TestInstructionsRefused(t *testing.T) {
	for name, test := range map[string]struct{ template, data, want string }{
		"empty":              {"", "\n\n", "no lines"},
		"no JSON":            {"", "{\"prompt\": 1", "x:1: no line of JSON"},
		"another form":       {"", "{}\n", `neither "messages"`},
		"no answer":          {chatML, `{"messages": [{"role": "user", "content": "a"}]}`, "nothing to learn"},
		"nothing left":       {"", `{"prompt": "a very long prompt", "completion": "x"}`, "1 examples leave nothing"},
		"template":           {"{% for %}", `{"prompt": "a", "completion": "b"}`, "chat template"},
		"refused by it":      {"{{ raise_exception('roles must alternate') }}", `{"prompt": "a", "completion": "b"}`, "roles must alternate"},
		"turns, no template": {"", `{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]}`, "no chat template"},
	} {
		_, err := instructionExamples(source{name: "x", data: []byte(test.data)}, withTemplate(t, test.template), 16)
		if err == nil || !errors.Is(err, ErrJob) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one with %q", name, err, test.want)
		}
	}
}

// TestOrder goes through all examples before any comes again, and is the same wherever it begins.
func TestOrder(t *testing.T) {
	const count, size = 10, 4
	var all []int
	for n := range 25 {
		all = append(all, order(7, count, size, n)...)
	}
	for epoch := range slices.Chunk(all, count) {
		sorted := slices.Sorted(slices.Values(epoch))
		for i, x := range sorted {
			if x != i {
				t.Fatalf("an epoch of %v", epoch)
			}
		}
	}
	if slices.Equal(all[:count], all[count:2*count]) {
		t.Error("epochs are in one order")
	}
	if got := order(7, 3, 8, 0); len(got) != 8 {
		t.Errorf("%v of few examples", got)
	}
	if a, b := order(7, count, size, 3), order(8, count, size, 3); slices.Equal(a, b) {
		t.Error("the seed does not matter")
	}
}

// predictions is the number of tokens that are to be predicted.
func (e examples) predictions() (n int) {
	for i, tokens := range e.tokens {
		if e.counted == nil {
			n += len(tokens) - 1
			continue
		}
		for _, c := range e.counted[i][1:] {
			if c {
				n++
			}
		}
	}
	return n
}
