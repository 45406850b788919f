def test_start_page_sends_strangers_to_sign_in(client):
    response = client.get("/")
    assert response.status_code == 303
    assert response.headers["location"] == "/sign-in"


def test_sign_in_page_renders(client):
    assert "Sign in" in client.get("/sign-in").text


def test_unknown_address_is_a_page_inside_the_shell(admin_client):
    response = admin_client.get("/account/nowhere")
    assert response.status_code == 404
    assert "data-error-detail" in response.text
