package cli

import (
	"errors"
	"reflect"

	"github.com/alecthomas/kong"
)

// A path is bytes, which need not be UTF-8. kong takes text through JSON, which replaces what is no UTF-8 by other
// characters, so another file would be meant.

// verbatim makes kong leave the bytes of arguments as they are.
func verbatim() kong.Option {
	return kong.OptionFunc(func(k *kong.Kong) error {
		return errors.Join(
			kong.KindMapper(reflect.String, kong.MapperFunc(decodeText)).Apply(k),
			kong.TypeMapper(reflect.TypeFor[[]string](), kong.MapperFunc(decodeTexts)).Apply(k),
		)
	})
}

func decodeText(ctx *kong.DecodeContext, target reflect.Value) error {
	token, err := ctx.Scan.PopValue("string")
	if err != nil {
		return err
	}
	target.SetString(token.String())
	return nil
}

// decodeTexts adds one value of a flag, and takes all positionals at once. A value is one, whatever commas
// it has.
func decodeTexts(ctx *kong.DecodeContext, target reflect.Value) error {
	for more := true; more; more = ctx.Value.Flag == nil && ctx.Scan.Peek().IsValue() {
		text := reflect.New(target.Type().Elem()).Elem()
		if err := decodeText(ctx, text); err != nil {
			return err
		}
		target.Set(reflect.Append(target, text))
	}
	return nil
}
