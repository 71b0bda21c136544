package config

import (
	"errors"

	"github.com/spf13/pflag"
)

// AddFlags gives flags one flag for each setting: --data.dir and so on. All are
// text to the flags, so that Load can report everything that is wrong at once.
func AddFlags(flags *pflag.FlagSet) {
	defaults := Default()
	for _, k := range keys {
		value := flagText(k.text(&defaults))
		flag := flags.VarPF(&value, k.name, "", k.doc)
		if value == "true" || value == "false" {
			flag.NoOptDefVal = "true"
		}
	}
}

// flagText is a flag that takes any text.
type flagText string

func (f *flagText) String() string     { return string(*f) }
func (f *flagText) Set(s string) error { *f = flagText(s); return nil }
func (f *flagText) Type() string       { return "" }

// FlagProblem turns an error of parsing flags into Problems, with the setting
// that was perhaps meant.
func FlagProblem(err error) error {
	var none *pflag.NotExistError
	if !errors.As(err, &none) {
		return Problems{{Key: "flags", Text: err.Error()}}
	}
	name := "--" + none.GetSpecifiedName()
	if none.GetSpecifiedShortnames() != "" {
		name = "-" + none.GetSpecifiedName()
	} else if k, ok := nearest(none.GetSpecifiedName()); ok {
		return Problems{{Key: name, Text: "is not a flag; did you mean --" + k.name + "?"}}
	}
	return Problems{{Key: name, Text: "is not a flag; allowed are those that --help lists"}}
}

func fromFlags(flags *pflag.FlagSet) *layer {
	l := newLayer()
	if flags == nil {
		return l
	}
	for _, k := range keys {
		if f := flags.Lookup(k.name); f != nil && f.Changed {
			l.set(k.name, f.Value.String(), "flag --"+k.name)
		}
	}
	return l
}
