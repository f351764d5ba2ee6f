// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version/verflag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// newAPIServer is the upstream kube-apiserver with one addition, taken from
// K3s: the supervisor (how nodes join) answers on the API server's own port.
// Its paths are handed to the unix socket named by SUPERVISOR_SOCKET, before
// authentication, because a joining node has no certificate yet.
func newAPIServer() *cobra.Command {
	ctx := genericapiserver.SetupSignalContext()
	opts := options.NewServerRunOptions()
	cmd := &cobra.Command{
		Use:          "kube-apiserver",
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			rest.SetDefaultWarningHandler(rest.NoWarnings{})
			return opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set()
		},
		RunE: func(*cobra.Command, []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(opts.Logs, utilfeature.DefaultFeatureGate); err != nil {
				return err
			}
			return serve(ctx, opts)
		},
	}
	sets := opts.Flags()
	verflag.AddFlags(sets.FlagSet("global"))
	globalflag.AddGlobalFlags(sets.FlagSet("global"), cmd.Name(), logs.SkipLoggingConfigurationFlags())
	for _, set := range sets.FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	cmd.SetContext(ctx)
	return cmd
}

func serve(ctx context.Context, opts *options.ServerRunOptions) error {
	completed, err := opts.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return err
	}
	completedConfig, err := config.Complete()
	if err != nil {
		return err
	}
	chain, err := app.CreateServerChain(completedConfig)
	if err != nil {
		return err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return err
	}
	if socket := os.Getenv("SUPERVISOR_SOCKET"); socket != "" {
		handler := chain.GenericAPIServer.Handler
		handler.FullHandlerChain = withSupervisor(socket, handler.FullHandlerChain)
	}
	return prepared.Run(ctx)
}

// withSupervisor answers K3s' own paths from the supervisor and all others
// from the API server (paths: k3s-io/k3s pkg/server/handlers/router.go).
func withSupervisor(socket string, api http.Handler) http.Handler {
	supervisor := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "supervisor"})
	supervisor.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cacerts" || r.URL.Path == "/ping" || strings.HasPrefix(r.URL.Path, "/v1-k3s/") {
			supervisor.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}
