package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/firmware/update"
)

func newKeygen() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key that signs updates",
		Long: "Write a private key to FILE, for nobody else to read, and print the public key: a line\n" +
			"for headwater/update-keys on the boot partition of boxes that are to take what it\n" +
			"signs. A FILE that is there is never written over: its boxes would take no update.",
		Args: cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return failure{err}
		}
		text, err := update.PrivateText(private)
		if err != nil {
			return failure{err}
		}
		if err := writeNew(args[0], text, 0o600); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), update.PublicText(public))
		return err
	}
	return cmd
}

// writeNew writes a file that is not there yet.
func writeNew(name string, text []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and is not written over", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// bundleFlags say what goes into a bundle.
type bundleFlags struct{ key, kernel, root, version, compatible, out string }

func newBundle() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Make a signed update",
		Long: "Write a kernel and a root to one file that boxes take as an update, signed with the key\n" +
			"that `headwater firmware keygen` made. The same contents make the same file when\n" +
			"SOURCE_DATE_EPOCH says when it was made.",
		Args: cobra.NoArgs,
	}
	var f bundleFlags
	for _, flag := range []struct {
		at         *string
		name, text string
	}{
		{&f.key, "key", "`file` with the private key"},
		{&f.kernel, "kernel", "`file` with the kernel"},
		{&f.root, "root", "`file` with the squashfs of the root"},
		{&f.version, "version", "version of the bundle, such as 1.4.0 or 1.4.0-rc.1"},
		{&f.compatible, "compatible", "which boxes it is for, such as headwater-arm64-efi"},
	} {
		cmd.Flags().StringVar(flag.at, flag.name, "", flag.text)
		cmd.MarkFlagRequired(flag.name)
	}
	cmd.Flags().StringVarP(&f.out, "output", "o", "", "`file` to write")
	cmd.MarkFlagRequired("output")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.write(cmd) }
	return cmd
}

// write makes the bundle beside its place, and puts it there when it is whole.
func (f bundleFlags) write(cmd *cobra.Command) (err error) {
	text, err := os.ReadFile(f.key)
	if err != nil {
		return err
	}
	key, err := update.ParsePrivateKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.key, err)
	}
	created, err := buildTime(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	c := update.Contents{Version: f.version, Compatible: f.compatible, Created: created}
	for name, to := range map[string]*io.Reader{f.kernel: &c.Kernel, f.root: &c.Root} {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		*to = file
	}
	scratch, err := temporary(f.out)
	if err != nil {
		return err
	}
	defer scratch.discard()
	out, err := temporary(f.out)
	if err != nil {
		return err
	}
	defer out.discard()
	m, err := update.Pack(cmd.Context(), out, scratch, key, c)
	if err != nil {
		return failure{err}
	}
	if err := errors.Join(out.Chmod(0o644), out.Sync(), os.Rename(out.Name(), f.out)); err != nil {
		return failure{err}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s for %s; kernel %d bytes (%d packed), root %d bytes (%d packed)\n",
		f.out, m.Version, m.Compatible, m.Kernel.Bytes, m.Kernel.PackedBytes, m.Root.Bytes, m.Root.PackedBytes)
	return nil
}

// scratchFile goes when it is discarded, unless it was renamed.
type scratchFile struct{ *os.File }

// temporary makes a file in the directory of name.
func temporary(name string) (scratchFile, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	return scratchFile{f}, err
}

func (f scratchFile) discard() {
	f.Close()
	os.Remove(f.Name())
}

// buildTime is now, or what reproducible builds say instead.
func buildTime(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Now(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %.40q; allowed are seconds since 1970", epoch)
	}
	return time.Unix(seconds, 0), nil
}
