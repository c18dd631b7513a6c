from pxeforge.domain.user_role import UserRole


def test_each_role_covers_itself_and_the_lesser_ones() -> None:
    order = [UserRole.VIEWER, UserRole.OPERATOR, UserRole.ADMIN]
    for greater, one in enumerate(order):
        for lesser, other in enumerate(order):
            assert one.covers(other) is (greater >= lesser)
            assert one.at_most(other) is order[min(greater, lesser)]
