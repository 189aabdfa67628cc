package evalworker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nikolalohinski/gonja/v2"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"

	"github.com/paretopress/paretopress/engine"
)

// chatTemplate makes a text of a conversation as the model was trained on.
type chatTemplate struct {
	template *exec.Template
	bos, eos string
}

// newChatTemplate reads the Jinja template of a model, as Hugging Face transformers do: with trimmed blocks. It reads no other files.
func newChatTemplate(v *engine.Vocabulary) (*chatTemplate, error) {
	c := config.New()
	c.TrimBlocks, c.LeftStripBlocks = true, true
	loader, err := loaders.NewMemoryLoader(map[string]string{"/chat": v.ChatTemplate})
	if err != nil {
		return nil, err
	}
	t, err := exec.NewTemplate("/chat", c, loader, gonja.DefaultEnvironment)
	if err != nil {
		return nil, fmt.Errorf("%s", firstLine(err))
	}
	text := func(id int) string {
		if id < 0 || id >= len(v.Tokens) {
			return ""
		}
		return v.Tokens[id].Text
	}
	return &chatTemplate{template: t, bos: text(v.BOS), eos: text(v.EOS)}, nil
}

// maxChat bounds what a template makes of a conversation.
const maxChat = 16 << 20

// render is the text of messages. prompt ends it as an answer begins.
func (t *chatTemplate) render(c conversation, prompt bool) (string, error) {
	messages := make([]map[string]any, len(c))
	for i, m := range c {
		messages[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	data := exec.NewContext(map[string]any{
		"messages": messages, "add_generation_prompt": prompt, "bos_token": t.bos, "eos_token": t.eos,
		"raise_exception": func(text string) (string, error) { return "", errors.New(text) },
	})
	out := &limited{left: maxChat}
	if err := t.template.Execute(out, data); err != nil {
		return "", fmt.Errorf("the model's chat template: %s", firstLine(err))
	}
	return out.String(), nil
}

// limited is a text that may not grow too long.
type limited struct {
	strings.Builder
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("more than %d bytes", maxChat)
	}
	return l.Builder.Write(p)
}

// firstLine of an error of the template's library, which can have many.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
