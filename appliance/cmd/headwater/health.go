package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newHealth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the appliance that runs here whether it is ready",
		Long: "Ask /readyz at admin.listen, as the same settings give it to serve, for a container's\n" +
			"health check. Exits with 0 if it is ready; with 1 if it is not, does not answer within\n" +
			"the deadline or does not run, and says why; with 2 if it was called or set up wrongly.\n" +
			"With --caught-up a broker in a region must also be registered with ZooKeeper, and its\n" +
			"followers in the ISR of their partitions: then the next broker may be stopped. A health\n" +
			"check is not to ask that, or a link that is down restarts what serves its devices.",
		Args: cobra.NoArgs,
	}
	timeout := cmd.Flags().Duration("timeout", 2*time.Second, "for the whole answer")
	caughtUp := cmd.Flags().Bool("caught-up", false, "ask also whether the broker has caught up with its region")
	load := withSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load("")
		if err != nil {
			return err
		}
		urls, err := readyURLs(cfg.Admin.Listen, *caughtUp)
		if err != nil {
			return err
		}
		answer := "ready"
		if *caughtUp {
			answer = "ready, and caught up"
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *timeout)
		defer cancel()
		if err := askReady(ctx, urls); err != nil {
			return failure{err}
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
		return err
	}
	return cmd
}

// readyURLs are where the one that listens on an address may be asked: at the address
// itself or, if that is every one, on loopback, whose name need not be known in a
// container.
func readyURLs(listen string, caughtUp bool) ([]string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		return nil, errors.New("admin.listen: port 0 may be any; allowed is one that is known")
	}
	hosts := []string{host}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		hosts = []string{"127.0.0.1", "::1"}
	}
	path := "/readyz"
	if caughtUp {
		path += "?caught-up=true"
	}
	var urls []string
	for _, host := range hosts {
		urls = append(urls, "http://"+net.JoinHostPort(host, port)+path)
	}
	return urls, nil
}

// maxReason is how much of a reason is read.
const maxReason = 4 << 10

// askReady returns nil if the first that answers is ready. The error is a line.
func askReady(ctx context.Context, urls []string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy of the environment
	var first error
	for _, url := range urls {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(req)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		why, err := io.ReadAll(io.LimitReader(answer.Body, maxReason))
		if err != nil {
			return fmt.Errorf("%s answers %s, and breaks off: %w", url, answer.Status, err)
		}
		return fmt.Errorf("not ready: %s", strings.ReplaceAll(strings.TrimSpace(string(why)), "\n", "; "))
	}
	return fmt.Errorf("does not answer: %w", first)
}
