#!/bin/bash
# What the tests of power cuts do in the machine, where a call of the plugin needs no conversation with the outside.
# Configurations are in /run/NETWORK.json; containers are PREFIX-NUMBER, each with a namespace of that name.

# cni COMMAND NETWORK CONTAINER NETNS
cni() {
  CNI_COMMAND=$1 CNI_CONTAINERID=$3 CNI_NETNS=$4 CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin bowline <"/run/$2.json"
}

# churn NETWORK PREFIX HOLD: makes pods and removes them without an end, HOLD of them alive. Prints `+ NETWORK POD` when
# one is made, `- NETWORK POD` before one is removed, and what the plugin said when it fails, after which it ends.
churn() {
  local network=$1 prefix=$2 hold=$3 alive=() number=0 pod said victim
  while :; do
    pod=$prefix-$((number += 1))
    ip netns add "$pod"
    said=$(cni ADD "$network" "$pod" "/run/netns/$pod") || break
    echo "+ $network $pod"
    alive+=("$pod")
    ((${#alive[@]} > hold)) || continue
    victim=$((number % hold))
    pod=${alive[victim]}
    unset "alive[victim]"
    alive=("${alive[@]}")
    echo "- $network $pod"
    said=$(cni DEL "$network" "$pod" "/run/netns/$pod") || break
    ip netns delete "$pod"
  done
  echo "failed: $pod: $said"
}

# watch COUNT: keeps what the churn says, and tells /run/reached when COUNT pods were made, and when the churn is over.
watch() {
  local line made=0
  while read -r line; do
    echo "$line" >>/run/churn.log
    [[ $line == +* ]] && ((++made == $1)) && echo reached >/run/reached
  done
  echo over >/run/reached
}

# fill NETWORK PREFIX LIMIT: makes pods until the plugin refuses one, LIMIT of them at most. Prints what each ADD said, a
# line each.
fill() {
  local network=$1 prefix=$2 limit=$3 number pod
  for ((number = 1; number <= limit; number++)); do
    pod=$prefix-$number
    ip netns add "$pod"
    cni ADD "$network" "$pod" "/run/netns/$pod" || break
  done
}

# forget NETWORK TIMES CONTAINER: DEL without a namespace, TIMES times, as of a pod of the boot before. Prints failures.
forget() {
  local network=$1 times=$2 pod=$3 said
  for ((; times > 0; times--)); do
    said=$(cni DEL "$network" "$pod" '') || echo "failed: $pod: $said"
  done
}
