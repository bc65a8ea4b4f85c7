/** What is said to a person who starts the program without CNI_COMMAND. */
export function aboutText(): string {
  return `bowline is a CNI plugin: the container runtime calls it, with CNI_COMMAND in the environment and the
network configuration on stdin. CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0
Try it by hand:   echo '{"cniVersion":"1.1.0"}' | CNI_COMMAND=VERSION bowline`
}
