package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/headwater/headwater/bridge/access"
)

func newPasswd() *cobra.Command {
	return &cobra.Command{
		Use:   "passwd",
		Short: "Print what stands for a password in the list of users",
		Long: "Read a password from the terminal, twice and without showing it, or from standard\n" +
			"input, whose first line it is. Print its bcrypt hash, for users: in the settings.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := readPassword(cmd)
			if err != nil {
				return err
			}
			hash, err := access.Hash(password)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
			return err
		},
	}
}

func readPassword(cmd *cobra.Command) (string, error) {
	password, err := askPassword(cmd, "Password: ")
	if _, ok := terminal(cmd); err != nil || !ok {
		return password, err
	}
	again, err := askPassword(cmd, "Again: ")
	if err == nil && again != password {
		err = errors.New("the two passwords differ")
	}
	return password, err
}

// terminal returns the terminal that the command reads from, where it does.
func terminal(cmd *cobra.Command) (*os.File, bool) {
	f, ok := cmd.InOrStdin().(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// askPassword reads one from the terminal without showing it, else the first line of
// what the command reads from.
func askPassword(cmd *cobra.Command, prompt string) (string, error) {
	f, ok := terminal(cmd)
	if !ok {
		return firstLine(cmd.InOrStdin())
	}
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	text, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	return string(text), err
}

// firstLine reads a line that is not much longer than a password may be.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 2*access.MaxPasswordLen)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}
