/*
 * delete_link NAME: asks the kernel to delete a link, waits for the answer, and does nothing else. No program that deletes the
 * link of a pod can be faster.
 */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words) {
  struct {
    struct nlmsghdr head;
    struct ifinfomsg info;
    struct rtattr attribute;
    char name[16];
  } request = {{sizeof request, RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, {0}, {RTA_LENGTH(16), IFLA_IFNAME}, ""};
  struct {
    struct nlmsghdr head;
    struct nlmsgerr result;
    char rest[4096];
  } answer;
  if (count != 2 || strlen(words[1]) >= sizeof request.name) return 2;
  strcpy(request.name, words[1]);
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (send(fd, &request, sizeof request, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 0) return 1;
  return answer.result.error ? 1 : 0;
}
