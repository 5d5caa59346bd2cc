package cli

import (
	"slices"

	"lvm2fs/internal/secret"
)

// remembering is an asker for a command that opens devices here and in the background: nobody is asked a question twice.
// It is for one goroutine at a time.
type remembering struct {
	asker
	answers []answer
	replay  bool // answer from what was answered before, in that order
}

type answer struct {
	question string // "" for standard input
	text     *secret.Bytes
}

func (r *remembering) passphrase(question string) (*secret.Bytes, error) {
	return r.ask(question, func() (*secret.Bytes, error) { return r.asker.passphrase(question) })
}

func (r *remembering) standardInput() (*secret.Bytes, error) {
	return r.ask("", r.asker.standardInput)
}

func (r *remembering) ask(question string, ask func() (*secret.Bytes, error)) (*secret.Bytes, error) {
	if r.replay {
		i := slices.IndexFunc(r.answers, func(a answer) bool { return a.question == question })
		if i >= 0 {
			text := r.answers[i].text
			r.answers = slices.Delete(r.answers, i, i+1)
			return text, nil // and whoever asked wipes it
		}
		return ask()
	}
	text, err := ask()
	if err != nil {
		return nil, err
	}
	kept, err := secret.New(len(text.Bytes()))
	if err != nil {
		text.Wipe()
		return nil, err
	}
	copy(kept.Bytes(), text.Bytes())
	r.answers = append(r.answers, answer{question, kept})
	return text, nil
}

// forget wipes what is remembered.
func (r *remembering) forget() {
	for _, a := range r.answers {
		a.text.Wipe()
	}
	r.answers = nil
}
