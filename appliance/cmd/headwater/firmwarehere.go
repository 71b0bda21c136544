package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/firmware/update"
)

// machine is this machine's firmware.
type machine struct{ box *update.Box }

// here opens it. settings is the file with those of the broker here, "" for none.
func here(cmd *cobra.Command, settings string) (machine, error) {
	box, err := update.Here(versionHere(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	if err != nil {
		return machine{}, failure{err}
	}
	box.CaughtUp = func() error { return caughtUpHere(cmd.Context(), settings, os.Environ()) }
	return machine{box}, nil
}

// caughtUpHere asks the broker that runs here, which has a moment to answer.
func caughtUpHere(ctx context.Context, settings string, environ []string) error {
	cfg, err := config.Load(settings, nil, environ)
	if err != nil {
		return err
	}
	urls, err := readyURLs(cfg.Admin.Listen, true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return askReady(ctx, urls)
}

func (m machine) status(context.Context) (update.Status, error) { return m.box.Status() }

func (m machine) install(cmd *cobra.Command, f *os.File, size int64, older, stay bool) error {
	manifest, err := m.box.InstallFile(cmd.Context(), f, size, update.Options{AllowDowngrade: older})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is installed; the next start tries it\n", manifest.Version)
	if stay {
		return nil
	}
	return update.Reboot()
}

func (m machine) rollBack(cmd *cobra.Command, stay bool) error {
	next, err := m.box.RollBack()
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "slot %s is what starts next\n", next)
	if stay || next == m.box.Running {
		return nil
	}
	return update.Reboot()
}
