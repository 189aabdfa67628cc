package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func (s *session) modelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Look at model files",
		Args:  exactly(0, ""),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var text string
	tokens := &cobra.Command{
		Use: "tokens MODEL", Short: "Print the token ids of a text", Args: exactly(1, "a model"),
		RunE: func(cmd *cobra.Command, args []string) error { return s.modelTokens(cmd.Context(), args[0], text) },
	}
	tokens.Flags().StringVar(&text, "text", "", "text file")
	cmd.AddCommand(
		&cobra.Command{Use: "info MODEL", Short: "Print what a model is", Args: exactly(1, "a model"),
			RunE: func(cmd *cobra.Command, args []string) error { return s.modelInfo(cmd.Context(), args[0]) }},
		tokens)
	return cmd
}

// modelReport is the result of model info.
type modelReport struct {
	Architecture string `json:"architecture"`
	Parameters   int64  `json:"parameters"`
	Bytes        int64  `json:"bytes"` // of the files
	Layers       int    `json:"layers"`
	Hidden       int    `json:"hidden"`
	FFN          int    `json:"ffn"`
	Heads        int    `json:"heads"`
	KVHeads      int    `json:"kv_heads"`
	Vocabulary   int    `json:"vocabulary"`
	TiedHead     bool   `json:"tied_head"`
	Digest       string `json:"digest"`
}

func (s *session) modelInfo(ctx context.Context, ref string) error {
	ck, err := s.openModel(ctx, ref)
	if err != nil {
		return err
	}
	defer ck.Close()
	digest, err := ck.Digest()
	if err != nil {
		return err
	}
	c := ck.Config()
	r := modelReport{Architecture: c.Arch, Parameters: c.Parameters(), Bytes: ck.FileBytes(), Layers: c.Layers, Hidden: c.Hidden,
		FFN: c.FFN, Heads: c.Heads, KVHeads: c.KVHeads, Vocabulary: c.Vocab, TiedHead: c.TieEmbeddings, Digest: digest}
	if s.json {
		return s.printJSON(r)
	}
	_, err = fmt.Fprintf(s.Stdout, `architecture  %s
parameters    %d
bytes         %d
layers        %d
hidden        %d, FFN %d, %d heads, %d key-value heads
vocabulary    %d (head tied to the embeddings: %t)
digest        %s
`, r.Architecture, r.Parameters, r.Bytes, r.Layers, r.Hidden, r.FFN, r.Heads, r.KVHeads, r.Vocabulary, r.TiedHead, r.Digest)
	return err
}

func (s *session) modelTokens(ctx context.Context, ref, text string) error {
	if text == "" {
		return usagef("--text: no text given")
	}
	b, err := os.ReadFile(text)
	if err != nil {
		return fmt.Errorf("--text: %w", err)
	}
	ck, err := s.openModel(ctx, ref)
	if err != nil {
		return err
	}
	defer ck.Close()
	tok, err := ck.Tokenizer()
	if err != nil {
		return err
	}
	ids := tok.Encode(b)
	if s.json {
		return s.printJSON(struct {
			IDs []int32 `json:"ids"`
		}{ids})
	}
	for _, id := range ids {
		fmt.Fprintf(s.Stdout, "%d\t%q\n", id, tok.Decode([]int32{id}))
	}
	return nil
}
