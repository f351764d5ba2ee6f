// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	cri "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"
)

// newCrictl stands in for crictl, which no package registry carries: the four
// questions people ask of it (ps, pods, images, version), asked over the real
// CRI socket.
func newCrictl() *cobra.Command {
	endpoint := os.Getenv("CONTAINER_RUNTIME_ENDPOINT")
	cmd := &cobra.Command{Use: "crictl", Short: "Look at containers through the CRI", SilenceUsage: true}
	cmd.PersistentFlags().StringVarP(&endpoint, "runtime-endpoint", "r", endpoint, "CRI socket, as unix:///path")
	runtime := func(ask func(context.Context, internalapi.RuntimeService, *tabwriter.Writer) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, _ []string) error {
			service, err := cri.NewRemoteRuntimeService(cmd.Context(), endpoint, 10*time.Second, nil, false)
			if err != nil {
				return err
			}
			out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
			defer out.Flush()
			return ask(cmd.Context(), service, out)
		}
	}
	cmd.AddCommand(
		&cobra.Command{Use: "version", RunE: runtime(version)},
		&cobra.Command{Use: "pods", RunE: runtime(pods)},
		&cobra.Command{Use: "ps", RunE: runtime(containers)},
		&cobra.Command{Use: "images", RunE: func(cmd *cobra.Command, _ []string) error {
			return images(cmd.Context(), endpoint)
		}},
	)
	cmd.SetContext(klog.NewContext(context.Background(), klog.Background()))
	return cmd
}

func version(ctx context.Context, service internalapi.RuntimeService, out *tabwriter.Writer) error {
	v, err := service.Version(ctx, "")
	if err == nil {
		fmt.Fprintf(out, "RuntimeName:\t%s\nRuntimeVersion:\t%s\n", v.RuntimeName, v.RuntimeVersion)
	}
	return err
}

func pods(ctx context.Context, service internalapi.RuntimeService, out *tabwriter.Writer) error {
	sandboxes, err := service.ListPodSandbox(ctx, nil)
	fmt.Fprintln(out, "POD ID\tSTATE\tNAMESPACE\tNAME\tRUNTIME")
	for _, s := range sandboxes {
		state := strings.TrimPrefix(s.State.String(), "SANDBOX_")
		fmt.Fprintf(out, "%.13s\t%s\t%s\t%s\t%s\n", s.Id, state, s.Metadata.Namespace, s.Metadata.Name, s.RuntimeHandler)
	}
	return err
}

func containers(ctx context.Context, service internalapi.RuntimeService, out *tabwriter.Writer) error {
	running, err := service.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	fmt.Fprintln(out, "CONTAINER\tNAMESPACE\tPOD\tNAME\tATTEMPT")
	for _, c := range running {
		fmt.Fprintf(out, "%.13s\t%s\t%s\t%s\t%d\n", c.Id, c.Labels["io.kubernetes.pod.namespace"], c.Labels["io.kubernetes.pod.name"], c.Metadata.Name, c.Metadata.Attempt)
	}
	return err
}

func images(ctx context.Context, endpoint string) error {
	service, err := cri.NewRemoteImageService(ctx, endpoint, 10*time.Second, nil, false)
	if err != nil {
		return err
	}
	found, err := service.ListImages(ctx, nil)
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	defer out.Flush()
	fmt.Fprintln(out, "IMAGE\tIMAGE ID\tBYTES")
	for _, image := range found {
		for _, tag := range image.RepoTags {
			fmt.Fprintf(out, "%s\t%.19s\t%d\n", tag, image.Id, image.Size)
		}
	}
	return err
}
